"""Audio that a disk has damaged is never given out: it is spoken again, or said to be lost."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from support.after import rows, sound_of, spoken
from support.damage import DAMAGES, damage, stored
from support.lines import logged
from support.running import Caller, running
from support.voices import recording, upload

TEXT = "\n\n".join(f"This is the paragraph number {n}, and it has a sound of its own." for n in range(4))


def scripted(tmp_path: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    return {"scripted": {"record": str(tmp_path / "record"), "target_chars": 40, **settings}}


async def metric(caller: Caller, name: str) -> float:
    lines = (await caller.http.get("/metrics")).text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


@pytest.mark.parametrize("kind", DAMAGES)
async def test_damaged_takes_are_spoken_again_and_only_they(tmp_path: Path, kind: str) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        first = await caller.say(TEXT, format="wav")
        sound_of(first)
    chunks = len(spoken(tmp_path / "record"))
    takes = stored(tmp_path, "*.flac")
    assert len(takes) == chunks
    for take in takes[:2]:
        damage(take, kind)
    with logged() as lines:
        async with running(tmp_path, backends=scripted(tmp_path)) as caller:
            other = await caller.say(TEXT, format="flac")
            sound_of(other)
            assert await metric(caller, "voxgate_damaged_files_total") == 2
            again = await caller.say(TEXT, format="wav", cache="refresh")
            assert again["output"]["audio_base64"] == first["output"]["audio_base64"]
    assert {line["blob"] for line in lines.of("storage_damaged")} == {take.stem for take in takes[:2]}
    record = [text for text, _ in spoken(tmp_path / "record")]
    assert len(record) == chunks + 2 + chunks, "two for the other format, all for the refresh"
    assert {file.name for file in stored(tmp_path, "*.flac")} >= {take.name for take in takes}


@pytest.mark.parametrize("kind", DAMAGES)
async def test_a_damaged_cache_entry_is_spoken_again_and_never_answered(tmp_path: Path, kind: str) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        first = await caller.say(TEXT, format="wav")
        job_id = await caller.run(TEXT, format="wav")
        await caller.until(job_id)
    (file,) = stored(tmp_path, "*.wav")
    held = damage(file, kind)
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        lost = await caller.http.get(f"/v2/tests/status/{job_id}")
        assert lost.status_code == 404
        assert "damaged" in lost.text
        url = first["output"]["audio_url"].partition("/audio/")[2]
        assert (await caller.http.get(f"/audio/{url}")).status_code == 404
        again = await caller.say(TEXT, format="wav")
        assert again["output"]["cache_hit"] is False
        assert again["output"]["audio_base64"] == first["output"]["audio_base64"]
        # The takes are the same, so the file is as well: what had lost it has it again.
        assert base64.b64decode((await caller.status(job_id))["output"]["audio_base64"]) == held
        assert (await caller.http.get(f"/audio/{url}", headers={"Range": "bytes=0-3"})).content == b"RIFF"
        assert (await caller.say(TEXT, format="wav"))["output"]["cache_hit"] is True
    assert [path.name for path in (tmp_path / "audio" / "damaged").iterdir()] == [file.name]
    assert rows(tmp_path, "SELECT COUNT(*) FROM cache_entries WHERE format = 'wav'") == [(1,)]


async def test_a_damaged_file_is_not_given_out_as_speech_either(tmp_path: Path) -> None:
    body = {"model": "tts-1", "input": TEXT, "voice": "default", "response_format": "wav"}
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        first = await caller.http.post("/v1/audio/speech", json=body)
        assert first.content.startswith(b"RIFF")
    (file,) = stored(tmp_path, "*.wav")
    damage(file, "emptied")
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        again = await caller.http.post("/v1/audio/speech", json=body)
        assert again.content == first.content


async def test_a_part_of_a_damaged_file_is_not_given_out(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        first = await caller.say(TEXT, format="wav")
    (file,) = stored(tmp_path, "*.wav")
    damage(file, "flipped")
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        url = first["output"]["audio_url"].partition("/audio/")[2]
        answer = await caller.http.get(f"/audio/{url}", headers={"Range": "bytes=0-3"})
        assert answer.status_code == 404


async def test_a_damaged_recording_fails_the_jobs_of_its_voice_and_says_so(tmp_path: Path) -> None:
    cloning = scripted(tmp_path, cloning=True)
    async with running(tmp_path, backends=cloning) as caller:
        assert (await upload(caller, "ann", recording(form="FLAC"))).status_code == 200
        sound_of(await caller.say("Hello there.", voice="ann"))
        (content,) = rows(tmp_path, "SELECT content_hash FROM voices")[0]
        (file,) = stored(tmp_path, f"{content}.wav")
        damage(file, "flipped")
        job = await caller.say("Something that was not said before.", voice="ann")
        assert job["status"] == "FAILED"
        assert "recording of voice 'ann' is damaged or missing" in job["error"]
        answer = await caller.http.get("/v2/tests/voices/ann/audio")
        assert answer.status_code == 404
        assert "upload it again" in answer.json()["error"]
        assert (await caller.http.delete("/v2/tests/voices/ann")).status_code == 200
        assert (await upload(caller, "ann", recording(form="FLAC"))).status_code == 200
        sound_of(await caller.say("Something that was not said before.", voice="ann"))
        assert hashlib.sha256(file.read_bytes()).hexdigest() == content

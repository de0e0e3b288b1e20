"""Voices over HTTP: uploaded, heard, used, deleted, and nobody else's."""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import pytest_asyncio
import soundfile
from support.after import rows
from support.peaks import MB, Peak, children, peak_bytes
from support.running import Caller, pcm_of, running
from support.voices import CONSENT, encoded, recording, tenant, upload

from gateway.api.http.uploads import MAX_BODY_BYTES
from gateway.settings.model import CacheSettings
from storage.voices import VoiceRecord

pytestmark = pytest.mark.asyncio(loop_scope="module")
TEXT = "A sentence to be spoken."
CLONING = {"scripted": {"cloning": True}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    folder = tmp_path_factory.mktemp("voices")
    cache = CacheSettings(scope="shared")
    async with running(folder, backends=CLONING, cache=cache) as caller:
        yield caller


def pitch(job: dict) -> float:
    samples, rate = pcm_of(job)
    return float(np.argmax(np.abs(np.fft.rfft(samples)))) * rate / len(samples)


def was_cached(job: dict) -> bool:
    assert job["status"] == "COMPLETED", job
    return bool(job["output"]["cache_hit"])


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.json()["error"]


async def test_an_uploaded_voice_is_listed_played_used_and_deleted(caller: Caller) -> None:
    answer = await upload(caller, "ann", recording(form="FLAC"), language="EN_gb")
    assert answer.status_code == 200, answer.text
    voice = answer.json()
    assert (voice["name"], voice["language"], voice["backends"]) == ("ann", "en-GB", ["scripted"])
    assert (voice["consent"], round(voice["duration_s"])) == (CONSENT, 4)

    listed = (await caller.http.get(f"/v2/{caller.endpoint}/voices")).json()
    assert [v["name"] for v in listed["voices"]] == ["low", "high"]
    assert listed["own"] == [voice]

    played = await caller.http.get(f"/v2/{caller.endpoint}/voices/ann/audio")
    assert (played.status_code, played.headers["content-type"]) == (200, "audio/wav")
    assert "no-store" in played.headers["cache-control"]
    pcm, rate = soundfile.read(io.BytesIO(played.content))
    assert (rate, pcm.ndim) == (24_000, 1)
    part = await caller.http.get("/voices/ann/audio", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"RIFF")
    assert (await caller.http.head("/voices/ann/audio")).headers["content-length"] == str(len(played.content))
    refused(await caller.http.get("/voices/ann/audio", headers={"Range": "bytes=99999999-"}), 416)

    spoken = await caller.say(TEXT, voice="ann", format="wav")
    assert pitch(spoken) > 490 > pitch(await caller.say(TEXT, format="wav"))
    assert spoken["output"]["voice"] == "ann"

    gone = await caller.http.delete(f"/v2/{caller.endpoint}/voices/ann")
    assert (gone.status_code, gone.json()) == (200, {"deleted": "ann"})
    assert (await caller.http.get("/voices")).json()["own"] == []
    refused(await caller.http.get("/voices/ann/audio"), 404, "'ann'", "none")
    failed = await caller.say(TEXT, voice="ann", format="wav")
    assert failed["status"] == "FAILED" and "no voice 'ann'" in failed["error"]


async def test_json_with_base64_does_the_same_as_a_form_also_without_an_endpoint(caller: Caller) -> None:
    body = {"name": "json", "consent": CONSENT, "audio_base64": base64.b64encode(recording()).decode()}
    answer = await caller.http.post("/voices", json=body)
    assert answer.status_code == 200, answer.text
    refused(await caller.http.post("/voices", json=body), 409, "'json' exists")
    assert (await caller.http.delete("/voices/json")).status_code == 200


async def test_what_a_voice_has_spoken_is_cached_for_its_tenant_only_though_the_cache_is_shared(
    caller: Caller,
) -> None:
    async with tenant(caller, "stranger") as stranger:
        for one in (caller, stranger):
            assert (await upload(one, "same", recording())).status_code == 200
        assert not was_cached(await caller.say(TEXT, voice="same"))
        assert was_cached(await caller.say(TEXT, voice="same"))
        # The very same recording, and yet nobody is answered with somebody else's.
        assert not was_cached(await stranger.say(TEXT, voice="same"))
        shared = "A sentence by a voice of the backend."
        assert not was_cached(await caller.say(shared))
        assert was_cached(await stranger.say(shared))

        assert (await caller.http.delete("/voices/same")).status_code == 200
        assert was_cached(await stranger.say(TEXT, voice="same"))
        assert (await stranger.http.delete("/voices/same")).status_code == 200


async def test_a_strangers_voice_is_not_there(caller: Caller) -> None:
    assert (await upload(caller, "mine", recording())).status_code == 200
    async with tenant(caller, "nosy") as nosy:
        refused(await nosy.http.get("/voices/mine/audio"), 404)
        refused(await nosy.http.delete("/voices/mine"), 404)
        assert (await nosy.http.get("/voices")).json()["own"] == []
        failed = await nosy.say(TEXT, voice="mine")
        assert failed["status"] == "FAILED" and failed["error"].endswith("it has: default, low, high")
    failed = await caller.say(TEXT, voice="mien")
    assert "did you mean 'mine'" in failed["error"] and failed["error"].endswith("yours are: mine")
    assert (await caller.http.delete("/voices/mine")).status_code == 200


async def test_another_recording_under_the_same_name_gives_other_audio(caller: Caller) -> None:
    heard = []
    for hertz in (170, 230):
        assert (await upload(caller, "changing", recording(hertz=hertz))).status_code == 200
        job = await caller.say(TEXT, voice="changing", format="wav")
        assert job["output"]["cache_hit"] is False
        heard.append(pitch(job))
        assert (await caller.http.delete("/voices/changing")).status_code == 200
    assert abs(heard[0] - heard[1]) > 3


async def test_the_same_voice_again_is_spoken_anew_since_nothing_of_it_was_kept(caller: Caller) -> None:
    async def entries(table: str) -> int:
        return rows_of(caller, f"SELECT COUNT(*) FROM {table} WHERE voice_hash IS NOT NULL")

    assert (await upload(caller, "brief", recording(hertz=150))).status_code == 200
    await caller.say(TEXT, voice="brief")
    await caller.say("Spoken without the cache.", voice="brief", cache="off")
    assert (await entries("takes"), await entries("cache_entries")) == (2, 1)
    assert (await caller.http.delete("/voices/brief")).status_code == 200
    assert (await entries("takes"), await entries("cache_entries")) == (0, 0)
    assert (await upload(caller, "brief", recording(hertz=150))).status_code == 200
    assert not was_cached(await caller.say(TEXT, voice="brief"))
    assert (await caller.http.delete("/voices/brief")).status_code == 200


def rows_of(caller: Caller, sql: str) -> int:
    return int(rows(caller.gateway.settings.data_dir, sql)[0][0])


async def test_the_files_go_with_the_voice(tmp_path: Path) -> None:
    cache = CacheSettings(sweep_every_s=0.05, blob_grace_s=0.05)
    async with running(tmp_path, backends=CLONING, cache=cache) as caller:
        assert (await upload(caller, "brief", recording())).status_code == 200
        job = await caller.say(TEXT, voice="brief", format="flac")
        async with asyncio.timeout(30):
            while len(files := set(files_in(tmp_path))) < 3:
                await asyncio.sleep(0.01)  # a file reaches its place after the answer
        assert (await caller.http.delete("/voices/brief")).status_code == 200
        async with asyncio.timeout(30):
            while len(left := set(files_in(tmp_path))) > 1:
                await asyncio.sleep(0.05)
        # The finished job keeps its own audio; recording and take are gone.
        assert left < files and len(files) == 3
        assert (await caller.status(job["id"]))["status"] == "COMPLETED"


def files_in(folder: Path) -> list[Path]:
    return [file for file in (folder / "audio").glob("??/??/*") if file.is_file()]


async def test_what_a_running_job_stores_after_its_voice_is_gone_goes_too(tmp_path: Path) -> None:
    cache = CacheSettings(sweep_every_s=0.05)
    async with running(tmp_path, backends=CLONING, cache=cache) as caller:
        assert (await upload(caller, "brief", recording())).status_code == 200
        job = await caller.run(TEXT, voice="brief", options={"delay_s": 0.5})
        await caller.until(job, "IN_PROGRESS")
        assert (await caller.http.delete("/voices/brief")).status_code == 200
        await caller.until(job)
        async with asyncio.timeout(30):
            while rows_of(caller, "SELECT (SELECT COUNT(*) FROM takes) + (SELECT COUNT(*) FROM cache_entries)"):
                await asyncio.sleep(0.05)


BAD = {
    "corrupt": (b"RIFF\x00\x00\x00\x00 this is no audio", "cannot be decoded"),
    "empty": (b"", "cannot be decoded"),
    "silent": (encoded(np.zeros(5 * 24_000, np.float32), 24_000), "silent"),
    "short": (recording(1.0), "lasts 1.0 s"),
    "cut off": (recording(form="FLAC")[:20_000], "record"),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_recording_is_refused_with_what_is_wrong_and_what_is_allowed(caller: Caller, kind: str) -> None:
    file, words = BAD[kind]
    refused(await upload(caller, "bad", file), 400, words)
    assert (await caller.http.get("/voices")).json()["own"] == []


async def test_ten_hours_in_a_small_file_are_refused_by_their_header(caller: Caller) -> None:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 8_000, 1, format="FLAC") as writer:
        for _ in range(60):
            writer.write(np.zeros(8_000 * 600, np.int16))
    refused(await upload(caller, "long", file.getvalue()), 400, "lasts 36000 s", "3 to 60 s")


async def test_a_small_file_that_unpacks_to_hundreds_of_megabytes_takes_little_memory_and_others_go_on(
    caller: Caller,
) -> None:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 192_000, 8, format="FLAC") as writer:
        for _ in range(59):
            writer.write(np.zeros((192_000, 8), np.int16))
    assert len(file.getvalue()) < 2_000_000  # 360 MB of samples
    assert (await upload(caller, "first", recording())).status_code == 200  # what decodes is there from now on
    assert (await caller.http.delete("/voices/first")).status_code == 200
    [decoder] = children("gateway.engines.dsp")
    small, serving = peak_bytes(decoder), Peak(os.getpid())
    bomb, good = await asyncio.gather(upload(caller, "bomb", file.getvalue()), upload(caller, "good", recording()))
    refused(bomb, 400, "silent")
    assert good.status_code == 200
    decoders = children("gateway.engines.dsp")
    assert decoder in decoders and len(decoders) <= 2, "neither has ended its process"
    assert 20 * MB < max(map(peak_bytes, decoders)) - small < 200 * MB, "a channel of it is 45 MB"
    assert serving.rise_bytes < 50 * MB
    assert (await caller.http.delete("/voices/good")).status_code == 200


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", f"Content-Length: {MAX_BODY_BYTES + 1}"])
async def test_a_body_beyond_the_limit_is_refused_before_its_end(caller: Caller, framing: str) -> None:
    host, port = caller.http.base_url.host, caller.http.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    head = f"POST /voices HTTP/1.1\r\nHost: {host}\r\nAuthorization: {caller.http.headers['authorization']}\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + b"\0" * 1_000_000
    try:
        writer.write(f"{head}Content-Type: multipart/form-data; boundary=x\r\n{framing}\r\n\r\n".encode())
        if "chunked" in framing:
            for _ in range(1 + MAX_BODY_BYTES // 1_000_000):
                writer.write(b"%x\r\n%s\r\n" % (len(part), part))
                await writer.drain()
        # The form is not at its end, and nobody waits for the rest of it.
        answer = await asyncio.wait_for(reader.readuntil(b"}"), 30)
        assert b" 413 " in answer and f"at most {MAX_BODY_BYTES} bytes".encode() in answer
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"consent": ""}, ["consent is missing", "who agreed"]),
        ({"name": "a/b"}, ["cannot be named", "letters"]),
        ({"name": "default"}, ["cannot be named"]),
        ({"language": "klingon?"}, ["language", "BCP 47"]),
        ({"langauge": "en"}, ["'langauge'", "did you mean 'language'"]),
    ],
)
async def test_a_form_that_is_wrong_says_where(caller: Caller, fields: dict[str, str], words: list[str]) -> None:
    data = {"name": "form", "consent": CONSENT} | fields
    answer = await caller.http.post("/voices", files={"file": ("voice.wav", recording(3.5))}, data=data)
    refused(answer, 400, *words)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"name=a", "application/x-www-form-urlencoded", "multipart/form-data"),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", "form"),
        (b"\xff\xfe", "application/json", "neither"),
        (b'{"name": "a"}', "application/json", "consent"),
        (b'{"name": "a", "consent": "b", "audio_base64": "%%%"}', "application/json", "base64"),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n\xff\xfe\r\n--x--\r\n',
         "multipart/form-data; boundary=x", "filename"),
        (b"", "multipart/form-data; boundary=x", "no file"),
        (b"", "multipart/form-data", "boundary"),
    ],
)  # fmt: skip
async def test_a_body_that_cannot_be_read_says_what_can(caller: Caller, content: bytes, kind: str, words: str) -> None:
    refused(await caller.http.post("/voices", content=content, headers={"Content-Type": kind}), 400, words)


async def test_changing_voices_needs_the_scope_and_hides_consent_from_keys_without_it(caller: Caller) -> None:
    assert (await upload(caller, "kept", recording())).status_code == 200
    async with tenant(caller, "default", "speak") as speaker:
        refused(await upload(speaker, "other", recording()), 403, "voices")
        refused(await speaker.http.delete("/voices/kept"), 403, "voices")
        refused(await speaker.http.get("/voices/kept/audio"), 403, "voices")
        (own,) = (await speaker.http.get("/voices")).json()["own"]
        assert own["name"] == "kept" and "consent" not in own
        assert (await speaker.say(TEXT, voice="kept"))["status"] == "COMPLETED"
    assert (await caller.http.delete("/voices/kept")).status_code == 200


async def test_a_name_the_backend_has_is_taken(caller: Caller) -> None:
    refused(await upload(caller, "high", recording()), 409, "scripted has a voice named 'high'")


async def test_a_backend_that_cannot_speak_like_a_recording_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        assert (await upload(caller, "ann", recording())).json()["backends"] == []
        failed = await caller.say(TEXT, voice="ann")
        assert failed["status"] == "FAILED" and "cannot clone voices" in failed["error"]


async def test_voices_outlive_the_server(tmp_path: Path) -> None:
    async with running(tmp_path, backends=CLONING) as caller:
        assert (await upload(caller, "ann", recording())).status_code == 200
        before = await caller.say(TEXT, voice="ann", format="wav")
    async with running(tmp_path, backends=CLONING) as caller:
        after = await caller.say(TEXT, voice="ann", format="wav", cache="refresh")
        assert after["output"]["audio_base64"] == before["output"]["audio_base64"]


async def test_a_server_that_has_not_heard_of_a_voice_yet_looks_before_it_fails_the_job(tmp_path: Path) -> None:
    async with (
        running(tmp_path, backends=CLONING) as one,
        running(tmp_path, backends=CLONING) as other,
    ):
        assert (await upload(one, "ann", recording())).status_code == 200
        # Whichever of the two claims them.
        jobs = await asyncio.gather(*(one.say(f"{TEXT} Number {n}.", voice="ann") for n in range(8)))
        assert [job["status"] for job in jobs] == ["COMPLETED"] * 8
        assert (await one.http.delete("/voices/ann")).status_code == 200
        async with asyncio.timeout(30):
            while (await other.http.get("/voices")).json()["own"]:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("change", ["made", "deleted"])
async def test_a_look_that_began_before_a_change_does_not_undo_it(tmp_path: Path, change: str) -> None:
    async with running(tmp_path, backends=CLONING) as caller:
        library = caller.gateway.voices
        read, begun, go_on = library._store.all, asyncio.Event(), asyncio.Event()

        async def slowly() -> list[VoiceRecord]:
            found = await read()
            begun.set()
            await go_on.wait()
            return found

        for name in ("bea", "ann") if change == "deleted" else ("bea",):
            assert (await upload(caller, name, recording())).status_code == 200
        library._store.all = slowly  # type: ignore[method-assign]
        look = asyncio.create_task(library.refresh())
        await begun.wait()
        if change == "made":
            assert (await upload(caller, "ann", recording())).status_code == 200
        else:
            assert (await caller.http.delete("/voices/ann")).status_code == 200
        go_on.set()
        await look
        own = (await caller.http.get("/voices")).json()["own"]
        assert [voice["name"] for voice in own] == (["ann", "bea"] if change == "made" else ["bea"])

"""A disk that is full, or nearly: what is accepted, what is answered, what waits."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from support.after import missing_files, rows, sound_of, spoken
from support.disks import disk
from support.served import Served, site
from support.voices import CONSENT, recording

from gateway.speech.request import AudioFormat

pytestmark = pytest.mark.slow

SHORT = {"jobs__lease_s": 1.5, "jobs__beat_s": 0.3, "backends__scripted__seconds_per_char": 0.005}
KNOWN = "This one is known by heart."
PAUSE = (
    "SELECT j.available_ms - e.at_ms FROM jobs j JOIN job_events e ON e.job_id = j.id "
    "WHERE j.id = ? AND j.state = 'IN_QUEUE' AND e.attempt = j.attempt AND e.detail LIKE 'no space left%'"
)
"""For how long a job waits that was handed back for want of room."""
FOLDERS = pytest.mark.parametrize("folder", ["data_dir", "cache_dir"])


async def no_room(served: Served) -> str:
    """That the server is not ready; the reason."""
    answer = await served.http.get("/health/ready")
    assert answer.status_code == 503
    assert (await served.http.head("/health/ready")).status_code == 503
    assert (await served.http.get("/health/live")).status_code == 200
    return str(answer.json()["error"])


def refused(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert "no space left" in answer.text and "free some" in answer.text


async def has_room(served: Served) -> None:
    assert (await served.http.get("/health/ready")).status_code == 200


@FOLDERS
async def test_a_server_on_a_full_disk_is_not_ready_takes_no_job_and_answers_what_it_knows(
    tmp_path: Path, folder: str
) -> None:
    with disk(tmp_path / "disk") as small:
        async with site(tmp_path, **SHORT, **{folder: small.path}) as place:
            served = await place.start()
            sound_of(await served.caller.say(KNOWN))
            await has_room(served)
            small.fill()
            reason = await no_room(served)
            assert "0 bytes free in" in reason and str(small.path) in reason
            for verb in ("run", "runsync"):
                answer = await served.caller.post(verb, {"input": {"text": f"A new sentence for {verb}."}})
                refused(answer)
            speech = {"model": "tts-1", "input": "A new sentence for OpenAI's clients.", "voice": "alloy"}
            answer = await served.http.post("/v1/audio/speech", json=speech)
            refused(answer)
            assert answer.json()["error"]["code"] == "storage_full"
            hit = await served.caller.say(KNOWN)
            assert hit["output"]["cache_hit"] is True
            small.clear()
            await has_room(served)
            sound_of(await served.caller.say("After there was room again."))
            assert await served.stop() == 0


async def test_a_nearly_full_disk_counts_as_full_so_that_what_was_accepted_can_be_written(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", size_mb=24) as small:
        async with site(tmp_path, **SHORT, data_dir=small.path, min_free_bytes=8_000_000) as place:
            served = await place.start()
            sound_of(await served.caller.say(KNOWN))
            running = [await served.caller.run(f"Job {n} was there.", options={"delay_s": 1}) for n in range(3)]
            await served.caller.until(running[0], "IN_PROGRESS")
            small.fill(leave_bytes=4_000_000)
            assert "at least 8000000 are needed" in await no_room(served)
            refused(await served.caller.post("run", {"input": {"text": "A new one."}}))
            for job_id in running:  # they were claimed before, and there is room for them
                sound_of(await served.caller.until(job_id))
            known = await served.caller.run(KNOWN)
            assert (await served.caller.until(known))["output"]["cache_hit"] is True
            assert await served.stop() == 0


async def test_a_disk_that_has_bytes_and_no_more_inodes_is_full(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", files=400) as small:
        async with site(tmp_path, **SHORT, data_dir=small.path) as place:
            served = await place.start()
            await has_room(served)
            small.fill_files()
            assert "files" in await no_room(served)
            refused(await served.caller.post("run", {"input": {"text": "A new one."}}))
            small.clear()
            await has_room(served)
            sound_of(await served.caller.say("After there was room again."))
            assert await served.stop() == 0


async def test_jobs_wait_unclaimed_until_there_is_room(tmp_path: Path) -> None:
    with disk(tmp_path / "audio") as small:
        record = tmp_path / "record"
        settings = {**SHORT, "backends__scripted__record": record, "jobs__max_running": 1, "jobs__max_attempts": 1}
        async with site(tmp_path, **settings, cache_dir=small.path) as place:
            served = await place.start()
            ids = [await served.caller.run(f"Job {n}.", format="wav", options={"delay_s": 1}) for n in range(4)]
            await served.caller.until(ids[0], "IN_PROGRESS")
            small.fill()
            job = await served.caller.status(ids[3])
            while "no space left" not in (await served.caller.status(ids[0])).get("reason", ""):
                await asyncio.sleep(0.05)
            begun = len(spoken(record))
            await asyncio.sleep(3)
            assert len(spoken(record)) == begun  # nothing is spoken that could not be kept
            job = await served.caller.status(ids[3])
            assert (job["status"], "retries" in job) == ("IN_QUEUE", False)
            assert f"no space left: 0 bytes free in {small.path}" in job["reason"]
            small.clear()
            for job_id in ids:
                job = await served.caller.until(job_id)
                sound_of(job)
                assert "retries" not in job
            assert await served.stop() == 0
            assert "claiming_paused" in served.log.read_text()
            assert "claiming_resumed" in served.log.read_text()


async def test_a_job_too_large_for_the_room_there_is_waits_longer_each_time_beside_others_that_fit(
    tmp_path: Path,
) -> None:
    # 24 MB as WAV, and the disk has not half of it.
    with disk(tmp_path / "audio", size_mb=12) as small:
        record = tmp_path / "record"
        settings = {
            **SHORT, "backends__scripted__seconds_per_char": 0.5, "backends__scripted__record": record,
            "jobs__max_attempts": 1,
        }  # fmt: skip
        async with site(tmp_path, **settings, cache_dir=small.path) as place:
            served = await place.start()
            large = "A text. " * 125
            job_id = await served.caller.run(large, format="wav")
            pauses: list[int] = []
            for n in itertools.count():
                if n < 20:  # their success must not make the large one try again at once; nor must they fill the disk
                    sound_of(await said_when_there_is_room(served, f"No. {n}."))
                await asyncio.sleep(0.5)
                for pause_ms in rows(place.data_dir, PAUSE, job_id):
                    pauses += [ms for ms in pause_ms if ms not in pauses]
                if len(pauses) >= 3:
                    break
            assert all(later >= 1.9 * earlier for earlier, later in itertools.pairwise(pauses)), pauses
            job = await served.caller.status(job_id)
            assert job["status"] in ("IN_QUEUE", "IN_PROGRESS")
            assert await served.stop() == 0
    assert rows(place.data_dir, "SELECT state FROM jobs WHERE id = ?", job_id) == [("IN_QUEUE",)]


async def said_when_there_is_room(served: Served, text: str) -> dict[str, Any]:
    """The final job of a text, sent again as often as it is refused for want of room."""
    while (answer := await served.caller.post("run", {"input": {"text": text, "format": "wav"}})).status_code == 503:
        refused(answer)
        await asyncio.sleep(0.1)
    assert answer.status_code == 200, answer.text
    return await served.caller.until(answer.json()["id"])


async def test_a_stream_that_finds_no_room_for_its_pieces_is_answered_503_and_is_whole_once_there_is_some(
    tmp_path: Path,
) -> None:
    with disk(tmp_path / "disk") as small:
        async with site(tmp_path, **SHORT, cache_dir=small.path) as place:
            served = await place.start()
            ids = [(await served.caller.say(KNOWN, format=each))["id"] for each in get_args(AudioFormat)]
            small.fill()
            for job_id in ids:
                for parameters in ({"from": 0}, {}):
                    answer = await served.http.get(f"/v2/{served.caller.endpoint}/stream/{job_id}", params=parameters)
                    refused(answer)
            small.clear()
            for job_id in ids:
                answer = await served.http.get(f"/v2/{served.caller.endpoint}/stream/{job_id}")
                assert [item["output"]["index"] for item in answer.json()["stream"]] == [0]
            assert await served.stop() == 0
            assert not list(small.path.rglob("tmp/*"))


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "form"])
@FOLDERS
async def test_a_voice_that_finds_no_room_is_answered_503_and_leaves_nothing(
    tmp_path: Path, folder: str, as_json: bool
) -> None:
    with disk(tmp_path / "disk") as small:
        async with site(tmp_path, **SHORT, **{folder: small.path}, backends__scripted__cloning="true") as place:
            served = await place.start()
            small.fill()
            answer = await add_voice(served, recording(), as_json)
            assert answer.status_code == 503, answer.text
            assert "no space left" in answer.text
            small.clear()
            assert (await add_voice(served, recording(), as_json)).status_code == 200
            assert await served.stop() == 0
            assert not list(small.path.rglob("tmp/*"))


async def test_a_large_form_that_finds_no_room_where_it_is_received_is_answered_503(tmp_path: Path) -> None:
    with disk(tmp_path / "temporary") as small:
        async with site(tmp_path, **SHORT, backends__scripted__cloning="true") as place:
            place.prefix = ["env", f"TMPDIR={small.path}"]
            served = await place.start()
            large = recording(59.0, rate=48_000)
            assert (await add_voice(served, large, as_json=False)).status_code == 200
            small.fill()
            answer = await add_voice(served, large, as_json=False)
            assert answer.status_code == 503, answer.text
            assert str(small.path) in answer.text and "TMPDIR" in answer.text
            assert await served.stop() == 0


async def test_no_address_answers_a_full_disk_with_a_fault_of_the_server(tmp_path: Path) -> None:
    with disk(tmp_path / "disk") as small:
        async with site(tmp_path, **SHORT, data_dir=small.path, min_free_bytes=0) as place:
            served = await place.start()
            done = await served.caller.say(KNOWN)
            waiting = await served.caller.run("This one runs.", options={"delay_s": 30})
            await served.caller.until(waiting, "IN_PROGRESS")
            failed = await served.caller.run("This one fails.", options={"fail": True})
            await served.caller.until(failed, "FAILED")
            small.fill()
            async for answer in everything(served, done["id"], waiting, failed):
                assert answer.status_code < 500 or answer.status_code == 503, (answer.request.url, answer.text)
            small.clear()
            assert await served.stop() == 0
            assert not await missing_files(small.path)


async def everything(served: Served, done: str, waiting: str, failed: str) -> AsyncIterator[httpx.Response]:
    """The answer to each verb, with bodies that make it write."""
    http, base = served.http, f"/v2/{served.caller.endpoint}"
    for n in range(8):
        text = {"input": {"text": f"Text {n} comes to a full disk. " + "It is long. " * 400}}
        yield await http.post(f"{base}/run", json=text, headers={"Idempotency-Key": f"k{n}"})
        yield await http.post(f"{base}/runsync?wait=1000", json=text)
    yield await http.post(f"{base}/run", json={"input": {"text": "x", "voice": "nobody"}})
    yield await http.post(f"{base}/runsync", json={"input": {"text": KNOWN}})
    yield await http.post(f"{base}/run", json={"input": {"text": KNOWN}})
    yield await http.post("/v1/audio/speech", json={"model": "tts-1", "input": "A new one.", "voice": "alloy"})
    yield await http.get(f"{base}/status/{done}")
    yield await http.get(f"{base}/stream/{done}")
    yield await http.get(f"{base}/status/{waiting}")
    yield await http.post(f"{base}/retry/{failed}")
    yield await http.get(f"{base}/requests")
    yield await http.get(f"{base}/health")
    yield await http.get("/health/ready")
    yield await http.get("/metrics")
    yield await http.get("/usage")
    yield await http.put("/pronunciations", json={"entries": [{"phrase": "gif", "respelling": "jif"}]})
    yield await http.get("/pronunciations")
    yield await add_voice(served, recording(), as_json=True)
    yield await add_voice(served, recording(50.0, rate=48_000), as_json=False)
    yield await http.get("/voices")
    yield await http.delete("/voices/anybody")
    yield await http.post(f"{base}/purge-queue")
    yield await http.post(f"{base}/cancel/{waiting}")


async def add_voice(served: Served, file: bytes, as_json: bool) -> httpx.Response:
    if as_json:
        encoded = base64.b64encode(file).decode()
        body = {"name": "ann", "consent": CONSENT, "audio_base64": encoded}
        return await served.http.post("/voices", json=body)
    return await served.http.post(
        "/voices", files={"file": ("voice.wav", file)}, data={"name": "ann", "consent": CONSENT}
    )

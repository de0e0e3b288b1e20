"""Disks that are full, folders that cannot be written, a database that somebody else holds."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from support.after import missing_files, rows, sound_of
from support.disks import bound_by_modes, disk, file_size_limit, not_writable
from support.served import Served, site

pytestmark = pytest.mark.slow

SHORT = {"jobs__lease_s": 1.5, "jobs__beat_s": 0.3, "backends__scripted__seconds_per_char": 0.005}


async def submitted(served: Served, texts: list[str]) -> tuple[list[str], list[str]]:
    """Ids of what was accepted, and the errors of what was not."""
    ids, errors = [], []
    for text in texts:
        answer = await served.caller.post("run", {"input": {"text": text, "format": "wav"}})
        if answer.status_code == 200:
            ids.append(answer.json()["id"])
        else:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            errors.append(answer.json()["error"])
    return ids, errors


async def test_a_full_disk_is_said_and_nothing_that_was_accepted_is_lost(tmp_path: Path) -> None:
    with disk(tmp_path / "disk") as small:
        async with site(tmp_path, **SHORT, data_dir=small.path) as place:
            served = await place.start()
            before = await served.caller.say("Before the disk was full.")
            sound_of(before)
            running = [await served.caller.run(f"Job {n} was there before.", options={"delay_s": 1}) for n in range(3)]
            await served.caller.until(running[0], "IN_PROGRESS")
            small.fill()
            texts = [f"Text number {n} comes to a full disk. " + "It is long. " * 150 for n in range(30)]
            ids, errors = await submitted(served, texts)
            assert errors
            assert all("no space left" in error and "VOXGATE_DATA_DIR" in error for error in errors)
            assert (await served.caller.status(before["id"]))["status"] == "COMPLETED"
            assert (await served.http.get("/health/live")).status_code == 200
            await asyncio.sleep(2)  # they find no room for what they have spoken
            small.clear()
            for job_id in running + ids:
                sound_of(await served.caller.until(job_id))
            sound_of(await served.caller.say("After there was room again."))
            assert await served.stop() == 0
            assert not await missing_files(small.path)


async def test_audio_that_finds_no_room_waits_for_it(tmp_path: Path) -> None:
    with disk(tmp_path / "audio") as small:
        # The very first failure that is counted would end a job.
        async with site(tmp_path, **SHORT, cache_dir=small.path, jobs__max_attempts=1) as place:
            served = await place.start()
            texts = [f"There is no space left for this sentence {n}." for n in range(3)]
            ids = [await served.caller.run(text, format="wav", options={"delay_s": 1}) for text in texts]
            await served.caller.until(ids[0], "IN_PROGRESS")
            small.fill()
            await waits(served, ids[0], "no space left")
            small.clear()
            for job_id in ids:
                sound_of(await served.caller.until(job_id))
            assert await served.stop() == 0


async def test_audio_on_a_disk_that_turned_read_only_waits_until_it_can_be_written(tmp_path: Path) -> None:
    with disk(tmp_path / "audio") as small:
        async with site(tmp_path, **SHORT, cache_dir=small.path, jobs__max_attempts=1) as place:
            served = await place.start()
            small.read_only()
            ids, errors = await submitted(served, [f"Nobody can write sentence {n}." for n in range(3)])
            assert not errors
            await waits(served, ids[0], "cannot be written")
            small.writable()
            for job_id in ids:
                sound_of(await served.caller.until(job_id))
            assert await served.stop() == 0


async def waits(served: Served, job_id: str, words: str) -> None:
    """Until a job waits, and says so in these words."""
    job = await served.caller.status(job_id)
    while words not in job.get("reason", ""):
        assert job["status"] in ("IN_QUEUE", "IN_PROGRESS"), job
        await asyncio.sleep(0.05)
        job = await served.caller.status(job_id)


async def test_audio_beyond_a_quota_waits_until_there_is_more(tmp_path: Path) -> None:
    # Twelve megabytes each, while the database stays far below four.
    settings = {**SHORT, "backends__scripted__seconds_per_char": 10.0}
    async with site(tmp_path, **settings, jobs__max_attempts=1) as place:
        served = await place.start()
        with file_size_limit(served.process.pid, 8 << 20):
            ids, errors = await submitted(served, [f"Number {n} is too long." for n in range(2)])
            assert not errors
            await waits(served, ids[0], "no space left")
        for job_id in ids:
            sound_of(await served.caller.until(job_id))
        assert await served.stop() == 0


async def test_audio_that_may_not_be_written_waits_for_leave(tmp_path: Path) -> None:
    audio = tmp_path / "audio"
    async with site(tmp_path, **SHORT, cache_dir=audio, jobs__max_attempts=1) as place:
        place.prefix = bound_by_modes()
        served = await place.start()
        with not_writable(audio):
            ids, errors = await submitted(served, [f"Nobody may write sentence {n}." for n in range(3)])
            assert not errors
            await waits(served, ids[0], "cannot be written")
        for job_id in ids:
            sound_of(await served.caller.until(job_id))
        assert await served.stop() == 0


async def test_a_quota_is_a_full_disk_too(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT) as place:
        served = await place.start()
        sound_of(await served.caller.say("Before the quota was reached."))
        with file_size_limit(served.process.pid, 0):
            ids, errors = await submitted(served, [f"Text number {n} is over the quota." for n in range(5)])
            assert ids == []
            assert all("no space left" in error for error in errors)
        sound_of(await served.caller.say("After the quota was raised."))
        assert await served.stop() == 0


async def test_a_server_does_not_start_on_a_folder_it_may_not_write(tmp_path: Path) -> None:
    async with site(tmp_path) as place:
        place.prefix = bound_by_modes()
        place.data_dir.mkdir()
        with not_writable(place.data_dir):
            served = place.spawn()
            assert await served.ended() != 0
        (line,) = served.log.read_text().strip().splitlines()
        assert "VOXGATE_DATA_DIR" in line and str(place.data_dir) in line


async def test_a_server_does_not_start_on_a_read_only_disk(tmp_path: Path) -> None:
    with disk(tmp_path / "disk") as small:
        small.read_only()
        async with site(tmp_path, data_dir=small.path) as place:
            served = place.spawn()
            assert await served.ended() != 0
            (line,) = served.log.read_text().strip().splitlines()
            assert "VOXGATE_DATA_DIR" in line and str(small.path) in line
        small.writable()


async def test_a_database_held_by_another_process_is_said_and_waited_for(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT) as place:
        served = await place.start()
        await served.caller.say("This one is known by heart.")
        running = [await served.caller.run(f"Job {n} was there before.", options={"delay_s": 1}) for n in range(3)]
        await served.caller.until(running[0], "IN_PROGRESS")
        holder = sqlite3.connect(place.data_dir / "voxgate.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        # Submitted while it is held for longer than anyone waits.
        ids, errors = await submitted(served, ["This one is refused."])
        assert ids == []
        assert "locked by another process" in errors[0]
        assert (await served.caller.status(running[0]))["status"] == "IN_PROGRESS"
        # What is in memory needs nobody's leave; its row is written later.
        hit = await served.caller.say("This one is known by heart.")
        assert hit["output"]["cache_hit"] is True
        assert (await served.caller.status(hit["id"]))["status"] == "COMPLETED"
        # And one that waits, and is accepted when the holder lets go.
        patient = asyncio.create_task(served.caller.say("This one is patient."))
        await asyncio.sleep(1)
        holder.execute("ROLLBACK")
        holder.close()
        sound_of(await patient)
        for job_id in running:
            job = await served.caller.until(job_id)
            sound_of(job)
            assert "retries" not in job
        assert await served.stop() == 0
        states = dict(rows(place.data_dir, "SELECT id, state FROM jobs"))
        assert states[hit["id"]] == "COMPLETED"
        assert set(states.values()) == {"COMPLETED"}

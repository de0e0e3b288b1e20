"""Folders and files that were moved, cleaned away or broken behind the server's back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.after import sound_of
from support.served import Served, site

pytestmark = pytest.mark.slow

SHORT = {"jobs__lease_s": 1.5, "jobs__beat_s": 0.3, "backends__scripted__seconds_per_char": 0.005}


async def unready(served: Served) -> str:
    """Return the reason `/health/ready` gives for a server that is not ready."""
    answer = await served.http.get("/health/ready")
    assert answer.status_code == 503, answer.text
    return str(answer.json()["error"])


async def test_jobs_wait_for_an_audio_folder_that_is_away(tmp_path: Path) -> None:
    audio = tmp_path / "audio"
    # The very first failure that is counted would end a job.
    async with site(tmp_path, **SHORT, cache_dir=audio, jobs__max_attempts=1) as place:
        served = await place.start()
        audio.rename(tmp_path / "away")
        job_id = await served.caller.run("There is no folder for this sentence.")
        while "cannot be used" not in (job := await served.caller.status(job_id)).get("reason", ""):
            assert job["status"] in ("IN_QUEUE", "IN_PROGRESS"), job
        assert str(audio) in await unready(served)
        assert not audio.exists()  # it may be a disk that is away: what was made in its place would hide behind it
        (tmp_path / "away").rename(audio)
        sound_of(await served.caller.until(job_id))
        assert (await served.http.get("/health/ready")).status_code == 200
        assert await served.stop() == 0


async def test_a_folder_for_spools_that_was_taken_for_rubbish_is_made_again(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT, jobs__max_attempts=1) as place:
        served = await place.start()
        shutil.rmtree(place.data_dir / "audio" / "tmp")
        sound_of(await served.caller.until(await served.caller.run("Somebody has cleaned up.")))
        assert await served.stop() == 0


async def test_nothing_is_accepted_into_a_database_that_nobody_would_find_again(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT) as place:
        served = await place.start()
        sound_of(await served.caller.say("Before the file was moved."))
        database = place.data_dir / "voxgate.db"
        database.rename(tmp_path / "moved")
        for stands_there in (False, True):
            if stands_there:
                shutil.copy(tmp_path / "moved", database)
            answer = await served.caller.post("run", {"input": {"text": "Into which file?"}})
            assert answer.status_code == 503
            assert "removed or replaced" in answer.json()["error"]
            assert "removed or replaced" in await unready(served)
        (tmp_path / "moved").replace(database)
        sound_of(await served.caller.until(await served.caller.run("After it was put back.")))
        assert await served.stop() == 0


async def test_a_damaged_database_stops_the_start_in_one_line_with_the_cure(tmp_path: Path) -> None:
    async with site(tmp_path) as place:
        assert await (await place.start()).stop() == 0
        database = place.data_dir / "voxgate.db"
        whole = database.read_bytes()
        page = 4096
        for damaged in (
            b"No database at all. " * 500,
            whole[: 3 * page] + b"\x55" * (len(whole) - 3 * page),
            whole[: len(whole) // 2],
        ):
            database.write_bytes(damaged)
            served = place.spawn()
            assert await served.ended() == 2
            (line,) = served.log.read_text().strip().splitlines()
            assert "is damaged" in line and str(database) in line and "backup" in line

"""`progress`: whoever polls, at whichever server, sees it grow up to its total and never go back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.after import rows
from support.running import Caller, running
from support.served import Served, site

from gateway.settings import JobSettings

PARAGRAPHS = [f"Paragraph number {n} says something of its own, and then it ends at last." for n in range(24)]
TEXT = "\n\n".join(PARAGRAPHS)
SPLIT = {"fail": True, "kind": "too_long", "only": "says something of its own, and then it ends at last"}
"""By which an engine takes no whole paragraph, only its pieces."""


class Seen:
    """Collects the progress of a job, in order, as polls report it and as the database stores it."""

    def __init__(self) -> None:
        self.polled: list[tuple[int, int]] = []
        self.stored: list[tuple[int, int]] = []

    def note(self, job: dict[str, Any]) -> None:
        if "progress" in job:
            self.polled.append((job["progress"]["chunks_done"], job["progress"]["chunks_total"]))

    def look(self, folder: Path, job_id: str) -> None:
        """Record the progress in the database, which is what another server would report."""
        self.stored += rows(folder, "SELECT chunks_done, chunks_total FROM jobs WHERE id = ?", job_id)

    def check(self, total: int) -> None:
        for told in (self.polled, self.stored):
            assert all(done <= of for done, of in told if of), told
            assert [done for done, _ in told] == sorted(done for done, _ in told), "it went back"
        assert {of for _, of in self.polled} == {total}
        assert len(set(self.polled)) > 1, "nobody saw it grow"


async def polled_to_the_end(caller: Caller, folder: Path, job_id: str) -> tuple[Seen, dict[str, Any]]:
    seen = Seen()
    async with asyncio.timeout(60):
        while True:
            job = await caller.status(job_id)
            seen.note(job)
            seen.look(folder, job_id)
            if job["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
                return seen, job
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("split", [False, True], ids=["whole chunks", "chunks in pieces"])
@pytest.mark.parametrize("loudness", [None, -20.0], ids=["one pass", "its level is measured first"])
async def test_each_chunk_counts_once(tmp_path: Path, split: bool, loudness: float | None) -> None:
    backends = {"scripted": {"seconds_per_char": 0.15}}
    jobs = JobSettings(beat_s=0.1, lease_s=10)
    async with running(tmp_path, backends=backends, jobs=jobs) as caller:
        fields = {} if loudness is None else {"loudness": loudness}
        options = SPLIT if split else {"chunk_delay_s": 0.03}
        job_id = await caller.run(TEXT, options=options, delivery="url", **fields)
        seen, job = await polled_to_the_end(caller, tmp_path, job_id)
        assert job["status"] == "COMPLETED" and job["output"]["chunks_processed"] == len(PARAGRAPHS)
        seen.check(len(PARAGRAPHS))
        assert seen.stored[-1] == (len(PARAGRAPHS), len(PARAGRAPHS))


async def test_chunks_of_other_jobs_count_when_they_are_there(tmp_path: Path) -> None:
    jobs = JobSettings(beat_s=0.1, lease_s=10)
    async with running(tmp_path, backends={"scripted": {"seconds_per_char": 0.01}}, jobs=jobs) as caller:
        await caller.say("\n\n".join(PARAGRAPHS[::2]), options={"chunk_delay_s": 0.05})
        first, second = [
            await caller.run(TEXT, format=form, options={"chunk_delay_s": 0.05}) for form in ("mp3", "wav")
        ]
        (seen, job), (also, other) = await asyncio.gather(
            *(polled_to_the_end(caller, tmp_path, job_id) for job_id in (first, second))
        )
        assert job["status"] == other["status"] == "COMPLETED"
        seen.check(len(PARAGRAPHS))
        also.check(len(PARAGRAPHS))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"chunk_delay_s": 0.06}, SPLIT], ids=["whole chunks", "chunks in pieces"])
async def test_a_server_that_takes_over_goes_on_counting_where_the_dead_one_stood(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    short = {"jobs__lease_s": 2, "jobs__beat_s": 0.3, "jobs__chunk_window": 4}
    async with site(tmp_path, **short, backends__scripted__seconds_per_char=0.4) as place:
        alive = await asyncio.gather(*(place.start() for _ in range(3)))
        seen = Seen()
        # Another speed: what is found is to be finished again, which takes a while that polls can see.
        job_id = await alive[0].caller.run(TEXT, options=options, speed=1.5, delivery="url")
        for at in (3, 8, len(PARAGRAPHS) + 1):
            job = await polled(alive, seen, place.data_dir, job_id, at)
            if at <= len(PARAGRAPHS):
                assert job["status"] == "IN_PROGRESS", job
                runs = next(one for one in alive if job["workerId"].startswith(f"w-{one.process.pid:x}-"))
                await runs.kill()
                alive.remove(runs)
        assert job["status"] == "COMPLETED" and job["output"]["chunks_processed"] == len(PARAGRAPHS)
        assert job["retries"] == 2
        seen.check(len(PARAGRAPHS))
        assert await alive[0].stop() == 0


async def polled(alive: list[Served], seen: Seen, folder: Path, job_id: str, at: int) -> dict[str, Any]:
    """The job, asked for at every server in turn, once so many chunks are done or it has ended."""
    async with asyncio.timeout(60):
        while True:
            for one in alive:
                job = await one.caller.status(job_id)
                seen.note(job)
                seen.look(folder, job_id)
                done = job.get("progress", {}).get("chunks_done", 0)
                if done >= at or job["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
                    return job

"""`kill -9` of the server at random moments, under load, again and again on the same data."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.after import key_of, missing_files, rows, sound_of, source_of, spoken
from support.served import Served, Site, site

pytestmark = [pytest.mark.slow, pytest.mark.soak]

ROUNDS = {"sqlite": 10, "postgresql": 4}
"""Unless VOXGATE_KILL_ROUNDS says how many."""
OPTIONS = {"chunk_delay_s": 0.03}
FORMATS = ("mp3", "wav", "flac", "opus")
WAITING_AT_MOST = 24
UNFINISHED = "SELECT 1 FROM jobs WHERE state IN ('IN_QUEUE', 'IN_PROGRESS') LIMIT 1"
KNOWN = "Everybody knows this sentence."


class Load:
    """Callers who submit jobs without end and note every id they were given."""

    def __init__(self, random_: random.Random) -> None:
        self.random = random_
        self.accepted: list[str] = []
        self.finished: dict[str, dict[str, Any]] = {}
        self._number = 0

    def text(self) -> str:
        """A text nobody has asked for, of one to six chunks; now and then one that somebody has."""
        if self._number and self.random.random() < 0.15:
            number, sentences = self.random.randrange(self._number), 3
        else:
            self._number += 1
            number, sentences = self._number, self.random.randint(1, 6)
        return " ".join(f"Sentence {n} of text number {number} goes on for a while." for n in range(sentences))

    async def call(self, served: Served) -> None:
        caller = served.caller
        while True:
            if len(self.accepted) - len(self.finished) > WAITING_AT_MOST:
                await self.look(served, at_most=8)
                await asyncio.sleep(0.05)
            fields = {"text": self.text(), "options": OPTIONS, "format": self.random.choice(FORMATS)}
            verb = self.random.choice(("run", "run", "run", "run", "runsync"))
            if self.random.random() < 0.1:
                fields |= {"text": KNOWN, "format": "mp3"}  # a hit: its usage is as durable as its row
            try:
                answer = await caller.post(verb, {"input": fields})
            except httpx.HTTPError:
                return  # it was killed
            assert answer.status_code == 200, answer.text
            job = answer.json()
            if verb == "run":
                self.accepted.append(job["id"])
            else:
                assert job["status"] == "COMPLETED", job
                sound_of(job)

    async def look(self, served: Served, at_most: int = 1_000_000) -> None:
        """Ask for the jobs that were not finished when last seen; what is finished is heard, once."""
        for job_id in [i for i in self.accepted if i not in self.finished][:at_most]:
            try:
                job = await served.caller.status(job_id)
            except httpx.HTTPError:
                return
            if job["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
                assert job["status"] == "COMPLETED", job
                sound_of(job)
                self.finished[job_id] = job


async def test_a_server_killed_at_any_moment_loses_no_job_and_repeats_no_finished_chunk(
    tmp_path: Path, on_both: str
) -> None:
    rounds = int(os.environ.get("VOXGATE_KILL_ROUNDS") or ROUNDS[on_both])
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    load = Load(random.Random(seed))
    record = tmp_path / "record"
    source = source_of(tmp_path / "other", {"options": OPTIONS})
    async with site(
        tmp_path,
        jobs__lease_s=1,
        jobs__beat_s=0.3,
        jobs__max_attempts=1,
        cache__sweep_every_s=0.4,
        cache__blob_grace_s=0.5,
        backends__scripted__record=record,
        backends__scripted__workers=2,
        backends__scripted__target_chars=60,
        backends__scripted__seconds_per_char=0.004,
    ) as place:
        finished: set[str] = set()
        heard = 0
        for _ in range(rounds):
            await one_round(place, load)
            said = spoken(record)
            assert not [text for text, seed in said[heard:] if key_of(source, text, seed) in finished]
            finished = {row[0] for row in rows(place.data_dir, "SELECT key FROM takes")}
            heard = len(said)
            assert not await missing_files(place.data_dir)
        served = await place.start()
        before = time.monotonic()
        # Those of callers who were cut off before they had an answer end, too.
        while len(load.finished) < len(load.accepted) or rows(place.data_dir, UNFINISHED):
            await load.look(served)
            await asyncio.sleep(0.1)
            assert time.monotonic() - before < 120, "accepted jobs did not end"
        assert not [text for text, seed in spoken(record)[heard:] if key_of(source, text, seed) in finished]
        assert await served.stop() == 0
    assert not await missing_files(place.data_dir)
    # Or else nothing above would have been found. A chunk may be missing: takes are stored beside the finished file,
    # and a kill between the two leaves a job that has ended, to which its takes are nothing any more.
    kept = {row[0] for row in rows(place.data_dir, "SELECT key FROM takes")}
    assert kept
    assert kept <= {key_of(source, text, seed) for text, seed in spoken(record)}
    states = dict(rows(place.data_dir, "SELECT state, COUNT(*) FROM jobs GROUP BY state"))
    assert set(states) == {"COMPLETED"}, states
    # Each of them is in the usage, once: none of it is lost, and none is counted twice.
    used = rows(place.data_dir, "SELECT SUM(jobs), SUM(characters) FROM usage")
    assert used == rows(place.data_dir, "SELECT COUNT(*), SUM(chars) FROM jobs")
    print(f"{len(load.accepted)} jobs, {len(spoken(record))} chunks spoken")


async def one_round(place: Site, load: Load) -> None:
    """Start, load, kill."""
    served = place.spawn()
    if load.accepted and load.random.random() < 0.2:
        await asyncio.sleep(load.random.uniform(0.2, 1.5))  # killed while it starts, or soon after
        await served.kill()
    else:
        await served.announced()
        callers = [asyncio.create_task(load.call(served)) for _ in range(4)]
        await asyncio.sleep(load.random.uniform(0.05, 1.5))
        served.send(signal.SIGKILL)
        await asyncio.gather(*callers)
        await served.kill()
    await asyncio.sleep(0.1)  # its workers die with it, each in its own time

"""Jobs with which a server died: they run alone, others make room for them, and neither waits for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from support.after import rows, sound_of, spoken
from support.clocks import JumpyClock
from support.running import Caller, running

from gateway.jobs.run.isolation import ALONE_S, PATIENCE_S
from gateway.settings import JobSettings

SHORT = JobSettings(max_running=2, lease_s=0.6, beat_s=0.2)
PACE = {"chunk_delay_s": 0.15}


def scripted(tmp_path: Path) -> dict[str, dict[str, Any]]:
    record = str(tmp_path / "record")
    return {"scripted": {"record": record, "target_chars": 50, "default_workers": 3, "seconds_per_char": 0.005}}


async def died_with(caller: Caller, job_id: str) -> None:
    """Another server claims a job that waits, and is never heard of again."""
    database = caller.gateway._database
    assert database is not None
    claimed = "UPDATE jobs SET state = 'IN_PROGRESS', owner = 'w-dead', attempt = attempt + 1, beat = 0"
    await database.writer.run(
        lambda conn: conn.exec_driver_sql(f"{claimed} WHERE id = '{job_id}' AND state = 'IN_QUEUE'").rowcount
    )


def book(name: str) -> str:
    return "\n\n".join(f"Paragraph {n} of {name}, which goes on for long." for n in range(100))


async def test_running_jobs_make_room_for_a_suspect_and_go_on_where_they_were(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path), jobs=SHORT) as caller:
        books = [await caller.run(book("Book"), options=PACE)]
        for job_id in books:
            await caller.until(job_id, "IN_PROGRESS")
        # Of low priority, it waits for the place that the book has.
        low = {"policy": {"lowPriority": True}}
        suspect = await caller.run("It was there when a server died.", options={"delay_s": 0.4}, **low)
        await died_with(caller, suspect)
        await caller.until(suspect, "IN_QUEUE")
        others = [*books, await caller.run("Somebody else wants to hear this.")]
        job = await caller.until(suspect)
        sound_of(job)
        assert job["retries"] == 1
        for job_id in others:
            job = await caller.until(job_id)
            sound_of(job)
            assert "retries" not in job
    happened: list[Any] = rows(tmp_path, "SELECT event, job_id FROM job_events ORDER BY id")
    began = happened.index(("claimed", suspect), happened.index(("expired", suspect)))
    assert happened[began + 1] == ("COMPLETED", suspect), "something was claimed beside it"
    assert {job_id for event, job_id in happened[:began] if event == "requeued"} == set(books)
    # Nothing but the chunks that were in hand is spoken twice.
    times = Counter(text for text, _ in spoken(tmp_path / "record"))
    assert len([text for text in times if times[text] > 1]) <= 2 * SHORT.chunk_window


async def test_a_suspect_is_none_any_more_once_a_take_of_it_is_stored(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path), jobs=SHORT, shutdown_grace_s=0.1) as caller:
        holders = [await caller.run(f"Holder {n}.", options={"delay_s": 3600}) for n in range(2)]
        for holder in holders:
            await caller.until(holder, "IN_PROGRESS")
        suspect = await caller.run(book("Book"), options=PACE)
        await died_with(caller, suspect)
        await caller.until(suspect, "IN_QUEUE")
        for holder in holders:
            await caller.post(f"cancel/{holder}")
        await caller.until(suspect, "IN_PROGRESS")
        sound_of(await caller.until(await caller.run("It is spoken beside the book.")))
        assert (await caller.status(suspect))["status"] == "IN_PROGRESS"
        assert rows(tmp_path, f"SELECT deaths FROM jobs WHERE id = '{suspect}'") == [(0,)]


async def test_a_suspect_that_gets_nowhere_keeps_others_out_for_a_while_only(tmp_path: Path) -> None:
    clock = JumpyClock()
    async with running(tmp_path, clock, backends=scripted(tmp_path), jobs=SHORT, shutdown_grace_s=0.1) as caller:
        holders = [await caller.run(f"Holder {n}.", options={"delay_s": 3600}) for n in range(2)]
        for holder in holders:
            await caller.until(holder, "IN_PROGRESS")
        suspect = await caller.run("It never ends.", options={"delay_s": 3600})
        await died_with(caller, suspect)
        await caller.until(suspect, "IN_QUEUE")
        for holder in holders:
            await caller.post(f"cancel/{holder}")
        await caller.until(suspect, "IN_PROGRESS")
        other = await caller.run("It waits until the suspect had its time.")
        await asyncio.sleep(1.5)
        assert (await caller.status(other))["status"] == "IN_QUEUE"
        clock.ahead_s += ALONE_S
        sound_of(await caller.until(other))
        assert (await caller.status(suspect))["status"] == "IN_PROGRESS"


async def test_a_running_job_whose_chunk_does_not_end_makes_room_after_a_while(tmp_path: Path) -> None:
    clock = JumpyClock()
    async with running(tmp_path, clock, backends=scripted(tmp_path), jobs=SHORT, shutdown_grace_s=0.1) as caller:
        holders = [await caller.run(f"Holder {n}.", options={"delay_s": 3600}) for n in range(2)]
        for holder in holders:
            await caller.until(holder, "IN_PROGRESS")
        suspect = await caller.run("It was there when a server died.")
        await died_with(caller, suspect)
        await caller.until(suspect, "IN_QUEUE")
        await asyncio.sleep(2.5)
        assert [(await caller.status(job_id))["status"] for job_id in holders] == ["IN_PROGRESS"] * 2
        clock.ahead_s += PATIENCE_S
        sound_of(await caller.until(suspect))
        for holder in holders:
            job = await caller.until(holder, "IN_PROGRESS")
            assert "retries" not in job

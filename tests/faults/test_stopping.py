"""A server that is asked to stop, one that stands still, and callers who go away."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from support.after import holds_no_lock, missing_files, rows, sound_of, spoken
from support.running import running
from support.served import site

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_both")]

SHORT = {"jobs__lease_s": 1.5, "jobs__beat_s": 0.3, "backends__scripted__target_chars": 60}
LONG = " ".join(f"Sentence {n} of a text that goes on for quite a while." for n in range(12))


async def test_a_server_that_is_told_to_stop_finishes_what_it_can_and_answers_who_waits(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT, shutdown_grace_s=20) as place:
        served = await place.start()
        caller = served.caller
        waiting = [
            asyncio.create_task(caller.say(f"Waiting caller number {n}.", options={"delay_s": 0.2})) for n in range(6)
        ]
        ids = [await caller.run(f"Queued job number {n}.", options={"delay_s": 0.2}) for n in range(6)]
        while rows(place.data_dir, "SELECT COUNT(*) FROM jobs") != [(12,)]:
            await asyncio.sleep(0.02)
        assert await served.stop() == 0
        for job in await asyncio.gather(*waiting):
            assert job["status"] in ("COMPLETED", "IN_QUEUE", "IN_PROGRESS")
            if job["status"] == "COMPLETED":
                sound_of(job)
        states = dict(rows(place.data_dir, "SELECT id, state FROM jobs"))
        assert set(states) >= set(ids)
        assert set(states.values()) <= {"COMPLETED", "IN_QUEUE"}, "a lease was not handed back"
        again = await place.start()
        for job_id in ids:
            job = await again.caller.until(job_id)
            sound_of(job)
            assert "retries" not in job
        assert await again.stop() == 0


async def test_what_cannot_be_finished_in_time_is_handed_back_and_goes_on_where_it_was(tmp_path: Path) -> None:
    record = tmp_path / "record"
    async with site(tmp_path, **SHORT, shutdown_grace_s=0.2, backends__scripted__record=record) as place:
        served = await place.start()
        job_id = await served.caller.run(LONG, options={"chunk_delay_s": 0.25})
        while len(spoken(record)) < 5:
            await asyncio.sleep(0.02)
        assert await served.stop() == 0
        row = rows(place.data_dir, "SELECT state, owner, failures FROM jobs")
        assert row == [("IN_QUEUE", None, 0)]
        kept = rows(place.data_dir, "SELECT COUNT(*) FROM takes")[0][0]
        assert kept >= 3
        before = len(spoken(record))
        again = await place.start()
        job = await again.caller.until(job_id)
        sound_of(job)
        assert len(spoken(record)) - before == job["output"]["chunks_processed"] - kept
        assert await again.stop() == 0


async def test_a_closed_terminal_stops_a_server_like_anybody_who_asks(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT, shutdown_grace_s=0.1) as place:
        ours = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, the server would inherit what ignores it
        try:
            served = await place.start()
        finally:
            signal.signal(signal.SIGHUP, ours)
        job_id = await served.caller.run(LONG, options={"delay_s": 0.3})
        await served.caller.until(job_id, "IN_PROGRESS")
        served.send(signal.SIGHUP)
        assert await served.ended() == 0
        assert rows(place.data_dir, "SELECT state, owner FROM jobs") == [("IN_QUEUE", None)]


async def test_a_server_that_stood_still_past_its_lease_is_fenced_out(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT) as place:
        servers = await asyncio.gather(place.start(), place.start())
        job_id = await servers[0].caller.run(LONG, options={"chunk_delay_s": 0.3})
        owner = (await servers[0].caller.until(job_id, "IN_PROGRESS"))["workerId"]
        first, second = sorted(servers, key=lambda served: f"-{served.process.pid:x}-" not in owner)
        while not rows(place.data_dir, "SELECT 1 FROM takes"):
            await asyncio.sleep(0.05)
        first.send(signal.SIGSTOP)
        while not holds_no_lock(place.data_dir, job_id):  # stopped while it wrote, it would hold up everybody
            first.send(signal.SIGCONT)
            await asyncio.sleep(0.05)
            first.send(signal.SIGSTOP)
        job = await second.caller.until(job_id)
        sound_of(job)
        assert job["retries"] == 1
        first.send(signal.SIGCONT)
        assert (await first.caller.until(job_id))["output"]["audio_base64"] == job["output"]["audio_base64"]
        new = await first.caller.say("It works again after it stood still.")
        sound_of(new)
        events = rows(place.data_dir, "SELECT event FROM job_events WHERE job_id = ? ORDER BY id", job_id)
        assert [event for (event,) in events].count("COMPLETED") == 1
        assert rows(place.data_dir, "SELECT jobs FROM usage WHERE jobs > 2") == []
        assert not await missing_files(place.data_dir)
        assert await first.stop() == 0
        assert await second.stop() == 0


async def test_a_server_that_is_alone_and_stood_still_goes_on_with_its_jobs(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT) as place:
        served = await place.start()
        job_id = await served.caller.run(LONG, options={"chunk_delay_s": 0.3})
        await served.caller.until(job_id, "IN_PROGRESS")
        for _ in range(2):
            await asyncio.sleep(0.5)
            served.send(signal.SIGSTOP)
            await asyncio.sleep(1.8)
            served.send(signal.SIGCONT)
        job = await served.caller.until(job_id)
        sound_of(job)
        assert "retries" not in job, "it took its own lease away"
        assert await served.stop() == 0


async def test_a_caller_who_goes_away_leaves_a_job_that_is_finished_and_kept(tmp_path: Path) -> None:
    async with site(tmp_path, **SHORT) as place:
        served = await place.start()
        leaving = asyncio.create_task(served.caller.say("Nobody waits.", options={"delay_s": 1}))
        while not (found := rows(place.data_dir, "SELECT id FROM jobs WHERE state = 'IN_PROGRESS'")):
            await asyncio.sleep(0.02)
        leaving.cancel()  # it hangs up
        with pytest.raises(asyncio.CancelledError):
            await leaving
        ((job_id,),) = found
        sound_of(await served.caller.until(job_id))
        assert await served.stop() == 0


async def test_a_part_that_cannot_stop_keeps_no_other_from_writing_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as caller:
        await caller.say("It is spoken once.")
        hit = await caller.say("It is spoken once.")
        leases = caller.gateway._leases
        stop = leases.stop

        async def crash() -> None:
            await stop()
            raise RuntimeError("a defect of ours")

        monkeypatch.setattr(leases, "stop", crash)
    assert rows(tmp_path, f"SELECT state FROM jobs WHERE id = '{hit['id']}'") == [("COMPLETED",)]

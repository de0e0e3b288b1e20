"""An engine host recovers from faults of its workers. Every fault is a real one."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.hosting import GUARD_S, hosting, order, outcome, until
from support.lines import logged
from support.odd_takes import OddTakesBackend
from support.small_device import VARIABLE, SmallDeviceBackend

from backends.interface import BackendUnavailable
from gateway.engines import hosts, wire
from gateway.engines.child import Child
from gateway.engines.errors import ChunkPoisoned, ChunkRefused, HostStopped
from gateway.engines.host import Host
from gateway.engines.process import ProcessWorker
from gateway.engines.scale import Scale
from gateway.settings.logs import lines_of

EIGHT = ["One.", "Two.", "Three.", "Four.", "Five.", "Six.", "Seven.", "Eight."]


def scale(**times: float) -> Scale:
    return Scale(0, 1, restart_s=0.01, **times)


async def test_the_chunks_of_a_killed_worker_are_spoken_by_the_next_one():
    async with hosting(scale(), concurrency=8) as host:
        tickets = [host.submit(order(text, index=n, chunk_delay_s=0.3)) for n, text in enumerate(EIGHT)]
        await until(lambda: tickets[7].dispatched_at)
        os.kill(host.state().pids[0], signal.SIGKILL)
        assert all([(await outcome(ticket)).samples for ticket in tickets])
        assert host.state().restarts == 1


async def test_what_a_worker_says_is_not_about_the_job_that_it_was_started_for():
    with logged() as lines:
        async with hosting(scale()) as host:
            with lines_of("req-1", job_id="job-1"):
                ticket = host.submit(order())
            await outcome(ticket)
            os.kill(host.state().pids[0], signal.SIGKILL)
            await until(lambda: lines.of("worker_died"))
    assert [line["event"] for line in lines.of()] == ["worker_ready", "worker_died"]
    assert not [line for line in lines.of() if "request_id" in line or "job_id" in line]


async def test_a_stopped_worker_is_killed_and_its_chunks_are_spoken_by_the_next_one():
    async with hosting(scale(chunk_timeout_s=1.5), concurrency=8) as host:
        assert (await outcome(host.submit(order("Warm.")))).samples
        os.kill(host.state().pids[0], signal.SIGSTOP)
        tickets = [host.submit(order(text, index=n)) for n, text in enumerate(EIGHT)]
        assert all([(await outcome(ticket)).samples for ticket in tickets])
        assert host.state().restarts == 1


async def test_a_hanging_chunk_is_given_up_and_its_seven_bystanders_are_spoken():
    async with hosting(scale(chunk_timeout_s=1.0), concurrency=8) as host:
        tickets = [host.submit(order(text, index=n, hang=True, only="Three")) for n, text in enumerate(EIGHT)]
        ends = [await outcome(ticket) for ticket in tickets]
        assert isinstance(ends.pop(2), ChunkPoisoned)
        assert all(take.samples for take in ends)


async def test_a_chunk_that_kills_its_worker_is_given_up_and_its_seven_bystanders_are_spoken():
    async with hosting(scale(), concurrency=8) as host:
        tickets = [host.submit(order(text, index=n, crash=True, only="Three")) for n, text in enumerate(EIGHT)]
        ends = [await outcome(ticket) for ticket in tickets]
        poisoned = ends.pop(2)
        assert isinstance(poisoned, ChunkPoisoned)
        assert "killed by SIGKILL" in str(poisoned)
        assert all(take.samples for take in ends)
        assert (await outcome(host.submit(order("Afterwards.")))).samples
        assert host.state().last_error is None


async def test_an_exception_of_the_engine_names_its_place_and_not_the_text():
    async with hosting(scale()) as host:
        ticket = host.submit(order("My secret.", raises=True))
        await until(lambda: host.state().last_error)
        assert host.state().last_error.startswith("RuntimeError at scripted.py:")
        error = await outcome(ticket)
        assert isinstance(error, ChunkPoisoned)
        assert "secret" not in str(error)


async def test_a_worker_that_is_deaf_to_a_cancel_is_killed_and_its_company_pays_nothing():
    async with hosting(scale(cancel_grace_s=0.2), concurrency=4) as host:
        hanging = host.submit(order("Hanging.", hang=True, only="Hanging"))
        company = [host.submit(order(text, index=n, chunk_delay_s=0.1)) for n, text in enumerate(EIGHT[:3])]
        await until(lambda: company[2].dispatched_at)
        await asyncio.sleep(0.1)
        hanging.cancel()
        assert all([(await outcome(ticket)).samples for ticket in company])
        assert [ticket.crashes for ticket in company] == [0, 0, 0]
        assert not any(ticket.alone for ticket in company)


async def test_a_slow_engine_that_asks_whether_it_was_cancelled_is_not_taken_for_hung():
    async with hosting(scale(chunk_timeout_s=1.5)) as host:
        assert (await outcome(host.submit(order("Slow.", chunk_delay_s=4.0)))).samples
        assert host.state().restarts == 0


async def test_a_backend_that_is_unavailable_says_so_to_all_and_is_tried_again():
    async with hosting(scale(), load_fails="unavailable") as host:
        tickets = [host.submit(order(text)) for text in EIGHT[:3]]
        for ticket in tickets:
            error = await outcome(ticket)
            assert isinstance(error, BackendUnavailable)
            assert error.cure == "unset load_fails"
        assert host.state().unavailable is error
        assert host.state().restarts == 0
        # After a pause the next submit starts another attempt instead of failing at once.
        await until(lambda: not host.submit(order("Again.")).future.done())
        assert host.state().initializing == 1


async def test_a_worker_too_many_for_the_device_does_not_disturb_the_one_that_runs(tmp_path: Path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "device"))
    async with hosting(Scale(0, 3, restart_s=0.01), backend=SmallDeviceBackend) as host:
        tickets = [host.submit(order(f"Number {n}.", index=n, chunk_delay_s=0.2)) for n in range(12)]
        ends = [await outcome(ticket) for ticket in tickets]
        assert all(take.samples for take in ends)
        assert host.state().restarts > 0
        assert host.state().unavailable is None


async def test_a_backend_that_cannot_load_is_reported_with_its_error_and_not_tried_for_ever():
    async with hosting(scale(), load_fails="raise") as host:
        error = await outcome(host.submit(order()))
        assert isinstance(error, BackendUnavailable)
        assert "told not to load" in str(error)
        assert host.state().restarts == 3


async def test_a_worker_that_dies_or_hangs_while_loading_is_reported_too():
    async with hosting(scale(), load_fails="crash") as host:
        assert "killed by SIGKILL" in str(await outcome(host.submit(order())))
    async with hosting(scale(load_timeout_s=0.5), load_fails="hang") as host:
        assert "silent for 0.5 s while loading" in str(await outcome(host.submit(order())))


async def test_a_machine_that_can_start_no_process_makes_the_backend_unavailable_until_it_can_again():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with hosting(scale()) as host:
        # The limit is of numbers, not of how many: others may have left gaps among them.
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            error = await outcome(host.submit(order()))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert isinstance(error, BackendUnavailable)
        assert "Too many open files" in str(error)
        host.wake()
        await until(lambda: host.ready)
        assert (await outcome(host.submit(order()))).samples


async def test_an_engine_with_another_revision_than_announced_never_speaks():
    async with hosting(scale(), revision="1", loaded_revision="2") as host:
        error = await outcome(host.submit(order()))
        assert isinstance(error, BackendUnavailable)
        assert "'2'" in str(error)
        assert "'1'" in str(error)
        assert isinstance(await outcome(host.submit(order())), BackendUnavailable)


async def test_loading_is_reported_while_chunks_wait():
    async with hosting(scale(), load_s=1.0) as host:
        ticket = host.submit(order())
        await until(lambda: host.state().loading_share > 0)
        state = host.state()
        assert (state.initializing, state.waiting, state.loading_text) == (1, 1, "pretending")
        assert ticket.dispatched_at is None
        assert (await outcome(ticket)).samples


async def test_signals_meant_for_the_gateway_do_not_disturb_its_workers():
    async with hosting(scale()) as host:
        ticket = host.submit(order("Speaking.", chunk_delay_s=0.4))
        await until(lambda: ticket.dispatched_at)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(host.state().pids[0], number)
        assert (await outcome(ticket)).samples
        assert host.state().restarts == 0


async def test_stopping_ends_a_hanging_worker_after_the_grace():
    async with hosting(scale()) as host:
        ticket = host.submit(order("Hanging.", hang=True))
        await until(lambda: ticket.dispatched_at)
        (pid,) = host.state().pids
        await host.stop(0.2)
        assert isinstance(await outcome(ticket), HostStopped)
        assert not alive(pid)


async def test_a_crashing_worker_is_started_again_less_and_less_often_and_says_why():
    async with hosting(Scale(1, 1, restart_s=30), start=True) as host:
        for deaths in (1, 2):
            await until(lambda: host.ready)
            os.kill(host.state().pids[0], signal.SIGKILL)
            await until(lambda deaths=deaths: host.state().restarts == deaths)
        ticket = host.submit(order())
        await asyncio.sleep(0.3)  # the first restart came at once; the second one waits
        state = host.state()
        assert (state.unhealthy, state.pids, state.waiting) == (1, (), 1)
        assert state.last_error == "killed by SIGKILL"
        await host.stop(0)
        assert isinstance(await outcome(ticket), HostStopped)


async def test_a_poisoned_chunk_among_a_hundred_costs_the_others_nothing():
    async with hosting(scale(), concurrency=4) as host:
        tickets = [host.submit(order(f"Number {n}.", index=n, crash=True, only="Number 57.")) for n in range(100)]
        ends = [await outcome(ticket) for ticket in tickets]
        assert isinstance(ends.pop(57), ChunkPoisoned)
        assert all(take.samples for take in ends)
        assert host.state().restarts <= 4


async def test_every_chunk_ends_whatever_dies_or_is_cancelled_at_whatever_moment():
    chance = random.Random(3)
    async with hosting(Scale(0, 2, restart_s=0.01, chunk_timeout_s=5, cancel_grace_s=0.5), concurrency=3) as host:
        tickets = []
        for n in range(80):
            text, delay = f"Number {n}.", chance.choice([0.0, 0.01, 0.1])
            tickets.append(host.submit(order(text, tenant=chance.choice("abc"), index=n % 4, chunk_delay_s=delay)))
            if chance.random() < 0.1 and host.ready and (pids := host.state().pids):
                os.kill(chance.choice(pids), signal.SIGKILL)
            if chance.random() < 0.2:
                chance.choice(tickets).cancel()
            await asyncio.sleep(chance.choice([0, 0, 0.02]))
        await asyncio.wait([ticket.future for ticket in tickets], timeout=GUARD_S)
        spoken = [ticket for ticket in tickets if not ticket.future.cancelled()]
        assert len(spoken) > 40
        assert all(ticket.future.result().samples for ticket in spoken)
        await until(lambda: host.state().running == 0)
        assert host.state().waiting == 0


async def test_one_tenants_long_job_does_not_keep_another_tenant_waiting():
    async with hosting(scale()) as host:
        long = [host.submit(order("A long job. " * 8, index=n, chunk_delay_s=0.02)) for n in range(30)]
        await until(lambda: long[3].dispatched_at)
        short = host.submit(order("A short one.", tenant="bert"))
        await outcome(short)
        assert sum(ticket.future.done() for ticket in long) < 15


async def test_no_worker_outlives_a_gateway_that_was_killed():
    script = (
        "import asyncio\n"
        "from support.hosting import GUARD_S, hosting, order, until\n"
        "async def main():\n"
        "    async with hosting() as host:\n"
        "        ticket = host.submit(order('Hanging.', hang=True))\n"
        "        await until(lambda: ticket.dispatched_at)\n"
        "        print('pid', host.state().pids[0], flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": tests}
    ) as gateway:
        worker = next(int(line.split()[1]) for line in gateway.stdout if line.startswith(b"pid "))
        assert alive(worker)
        gateway.kill()
    await until(lambda: not alive(worker))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_start_that_fails_by_a_defect_is_tried_again(monkeypatch: pytest.MonkeyPatch):
    made: list[Any] = []

    def crash(*arguments: Any) -> Any:
        made.append(arguments)
        if len(made) == 1:
            raise RuntimeError("a defect of ours")
        return ProcessWorker(*arguments)

    monkeypatch.setattr(hosts, "ProcessWorker", crash)
    with structlog.testing.capture_logs() as lines:
        async with hosting(scale()) as host:
            assert (await outcome(host.submit(order()))).samples
    assert "cannot start: RuntimeError" in str(lines)


async def test_an_alarm_that_crashes_is_set_again(monkeypatch: pytest.MonkeyPatch):
    scale_down = Host._scale_down

    def crash(host: Host, now: float) -> list[float]:
        monkeypatch.setattr(Host, "_scale_down", scale_down)
        raise RuntimeError("a defect of ours")

    async with hosting(scale(idle_timeout_s=2.0)) as host:
        host.wake()
        await until(lambda: host.ready and host._workers[0].waits)
        monkeypatch.setattr(Host, "_scale_down", crash)  # nothing happens now, until an alarm says that it idled
        await until(lambda: not host.state().pids)
    assert Host._scale_down is scale_down, "it crashed"


async def test_chunks_that_cannot_be_delivered_are_refused_and_the_next_are_spoken(monkeypatch: pytest.MonkeyPatch):
    deliver = ProcessWorker.deliver

    def crash(worker: ProcessWorker, chunks: Any) -> None:
        monkeypatch.setattr(ProcessWorker, "deliver", deliver)
        raise TypeError("no such thing can be sent")

    async with hosting(scale(), start=True) as host:
        monkeypatch.setattr(ProcessWorker, "deliver", crash)
        refused = await outcome(host.submit(order("Lost.")))
        assert isinstance(refused, ChunkRefused) and "could not be handed to scripted (TypeError)" in str(refused)
        assert (await outcome(host.submit(order("Spoken.")))).samples


async def test_a_worker_that_can_hear_no_more_ends_and_is_replaced():
    async with hosting(scale()) as host:
        host.wake()
        await until(lambda: host.ready)
        (first,) = host.state().pids
        host._workers[0].worker._child.send(wire.frame(b"\xff is no message"))
        assert (await outcome(host.submit(order()))).samples
        assert first not in host.state().pids


async def test_a_take_that_cannot_be_sent_fails_alone():
    async with hosting(scale(), backend=OddTakesBackend, concurrency=2) as host:
        odd, plain = host.submit(order("An odd one.")), host.submit(order("A plain one."))
        refused = await outcome(odd)
        assert isinstance(refused, ChunkRefused) and "gave no take that can be used: TypeError" in str(refused)
        assert (await outcome(plain)).samples
        assert (await outcome(host.submit(order("A later one.")))).samples
        assert host.state().restarts == 0


async def test_a_process_whose_end_nobody_can_observe_is_replaced(monkeypatch: pytest.MonkeyPatch):
    status = Child._status

    async def crash(child: Child) -> str:
        monkeypatch.setattr(Child, "_status", status)
        raise RuntimeError("can't start new thread")

    async with hosting(scale()) as host:
        host.wake()
        await until(lambda: host.ready)
        monkeypatch.setattr(Child, "_status", crash)
        with structlog.testing.capture_logs() as lines:
            os.kill(host.state().pids[0], signal.SIGKILL)
            await until(lambda: not host.state().pids)
        assert (await outcome(host.submit(order()))).samples
    reasons = [line.get("reason") for line in lines]
    assert "closed its connection; its exit status is unknown (RuntimeError: can't start new thread)" in reasons

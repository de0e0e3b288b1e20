from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.clocks import HeldClock
from support.hosting import until
from support.peaks import children

import gateway.engines.pool
from gateway.engines.dsp import Dsp
from gateway.engines.errors import ChunkRefused, HostStopped
from gateway.engines.pool import PoolLimits, ProcessPool
from gateway.errors import InvalidInput, TooManyRequests


def pid() -> int:
    return os.getpid()


def nap_then_pid(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def refuse(message: str) -> None:
    raise InvalidInput(message)


def refuse_oddly() -> None:
    raise TooManyRequests("wait", retry_after_s=3)


def nap_and_die(seconds: float) -> None:
    time.sleep(seconds)
    die()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def test_functions_run_in_other_processes_and_no_more_of_them_than_may_be():
    dsp = Dsp(PoolLimits(2))
    pids = await asyncio.gather(*(dsp.run(nap_then_pid, 0.05) for _ in range(9)))
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    assert len(children("gateway.engines.dsp")) == 2
    await dsp.stop()
    assert not children("gateway.engines.dsp")


async def test_a_process_starts_for_the_first_call_and_another_only_where_all_are_busy():
    dsp = Dsp(PoolLimits(8))
    assert not children("gateway.engines.dsp")
    pids = [await dsp.run(pid) for _ in range(5)]
    assert len(set(pids)) == 1
    await dsp.stop()


async def test_idle_processes_end_and_those_that_are_kept_stay():
    clock = HeldClock()
    pool = ProcessPool("gateway.engines.dsp", PoolLimits(3, idle_timeout_s=60, keep=1), clock)
    pids = await asyncio.gather(*(pool.run(nap_then_pid, 0.3) for _ in range(3)))
    assert len(set(pids)) == 3
    clock.let_pass(61)
    await until(lambda: len(children("gateway.engines.dsp")) == 1)
    clock.let_pass(3600)
    [kept] = children("gateway.engines.dsp")
    assert await pool.run(pid) == kept
    await pool.stop()


async def test_an_upload_that_hangs_stands_before_no_take_and_no_other_upload():
    dsp = Dsp()
    hanging = asyncio.ensure_future(dsp.run(nap, 3600, lane="uploads", owner="anna"))
    async with asyncio.timeout(60):
        assert await dsp.run(nap, 0) == "slept"
        assert await dsp.run(nap, 0, lane="uploads", owner="anna") == "slept"
        assert await dsp.run(nap, 0, lane="uploads", owner="bert") == "slept"
    assert not hanging.done()
    await dsp.stop()
    with pytest.raises(HostStopped):
        await hanging


async def test_a_take_that_hangs_stands_before_no_other():
    dsp = Dsp()
    hanging = asyncio.ensure_future(dsp.run(nap, 3600))
    async with asyncio.timeout(60):
        assert await dsp.run(nap, 0) == "slept"
    await dsp.stop()
    with pytest.raises(HostStopped):
        await hanging


async def test_owners_take_turns_and_none_has_more_calls_at_a_time_than_it_may():
    pool = ProcessPool("gateway.engines.dsp", PoolLimits(2, per_owner=1))
    order: list[str] = []

    async def call(owner: str) -> int:
        worker = await pool.run(nap_then_pid, 0.05, owner=owner)
        order.append(owner)
        return worker

    await asyncio.gather(pool.run(nap, 0.5), pool.run(nap, 0.5))  # both processes are there
    pids = await asyncio.gather(*(call("anna") for _ in range(6)), call("bert"))
    assert order.index("bert") < 3, "whoever sent six stands before nobody else"
    assert len(set(pids)) <= 2
    assert len(children("gateway.engines.dsp")) <= 2
    await pool.stop()


async def test_arguments_that_cannot_travel_fail_their_call_only():
    dsp = Dsp()
    with pytest.raises(Exception, match="pickle"):
        await dsp.run(nap, lambda: 1)
    assert await dsp.run(nap, 0) == "slept"
    await dsp.stop()


async def test_what_a_function_raises_is_raised_here():
    dsp = Dsp()
    with pytest.raises(InvalidInput, match="no such chunk"):
        await dsp.run(refuse, "no such chunk")
    with pytest.raises(TooManyRequests, match="wait"):
        await dsp.run(refuse_oddly)
    await dsp.stop()


async def test_a_call_that_ends_the_process_fails_and_no_other_pays_for_it():
    dsp = Dsp(PoolLimits(1))
    fatal, *others = await asyncio.gather(dsp.run(die), dsp.run(nap, 0.05), dsp.run(nap, 0.05), return_exceptions=True)
    assert isinstance(fatal, ChunkRefused)
    assert others == ["slept", "slept"]
    await dsp.stop()


async def test_where_no_process_can_be_started_calls_fail_and_nobody_waits(monkeypatch: pytest.MonkeyPatch):
    real = gateway.engines.pool.Child
    started = 0

    def once(*args: Any) -> Any:
        nonlocal started
        started += 1
        if started > 1:
            raise OSError(errno.EAGAIN, "no room for another process")
        return real(*args)

    monkeypatch.setattr(gateway.engines.pool, "Child", once)
    dsp = Dsp()
    async with asyncio.timeout(60):
        ended = await asyncio.gather(dsp.run(die), *(dsp.run(nap, 0.05) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(error, ChunkRefused) for error in ended)
        assert "cannot start: no room for another process" in str(ended[-1])
        monkeypatch.setattr(gateway.engines.pool, "Child", real)
        assert await dsp.run(nap, 0.0) == "slept"
    await dsp.stop()


async def test_stopping_fails_what_is_under_way():
    dsp = Dsp()
    call = asyncio.ensure_future(dsp.run(nap, 30))
    await asyncio.sleep(0.3)
    await dsp.stop()
    with pytest.raises(HostStopped):
        await call
    with pytest.raises(HostStopped):
        await dsp.run(pid)


async def test_a_hanging_call_fails_and_the_next_one_is_made():
    clock = HeldClock()
    dsp = Dsp(PoolLimits(1, call_timeout_s=120), clock=clock)
    hanging = asyncio.ensure_future(dsp.run(nap, 3600))
    await until(lambda: children("gateway.engines.dsp"))
    clock.let_pass(121)
    with pytest.raises(ChunkRefused, match="SIGKILL"):
        await hanging
    assert await dsp.run(nap, 0) == "slept"
    await dsp.stop()


async def test_when_the_process_dies_at_a_call_nobody_waits_for_the_others_do_not_pay():
    dsp = Dsp()
    given_up = asyncio.ensure_future(dsp.run(nap_and_die, 0.3))
    other = asyncio.ensure_future(dsp.run(nap, 0.01))
    await asyncio.sleep(0.01)
    given_up.cancel()
    assert await other == "slept"
    await dsp.stop()


def count(to: int, die_at: int | None = None) -> Iterator[int]:
    for n in range(to):
        if n == die_at:
            raise InvalidInput("no further")
        yield n


async def test_what_a_generator_yields_comes_piece_by_piece_as_a_list():
    pool = ProcessPool("gateway.engines.dsp", PoolLimits(1))
    assert await pool.run(count, 1000) == list(range(1000))
    assert await pool.run(count, 0) == []
    with pytest.raises(InvalidInput, match="no further"):
        await pool.run(count, 10, 5)
    assert await pool.run(count, 3) == [0, 1, 2]
    await pool.stop()

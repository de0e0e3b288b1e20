from __future__ import annotations

import asyncio
import errno
import os
import signal
import time
from typing import Any

import pytest

import gateway.engines.dsp
from gateway.engines.dsp import Dsp
from gateway.engines.errors import ChunkRefused, HostStopped
from gateway.errors import InvalidInput, TooManyRequests


def pid() -> int:
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


async def test_functions_run_in_another_process_one_after_the_other():
    dsp = Dsp()
    pids = await asyncio.gather(*(dsp.run(pid) for _ in range(5)))
    assert len(set(pids)) == 1
    assert pids[0] != os.getpid()
    await dsp.stop()


async def test_what_a_function_raises_is_raised_here():
    dsp = Dsp()
    with pytest.raises(InvalidInput, match="no such chunk"):
        await dsp.run(refuse, "no such chunk")
    with pytest.raises(TooManyRequests, match="wait"):
        await dsp.run(refuse_oddly)
    await dsp.stop()


async def test_a_call_that_ends_the_process_fails_and_the_others_are_made_again():
    dsp = Dsp()
    fatal, *others = await asyncio.gather(dsp.run(die), dsp.run(nap, 0.05), dsp.run(nap, 0.05), return_exceptions=True)
    assert isinstance(fatal, ChunkRefused)
    assert others == ["slept", "slept"]
    await dsp.stop()


async def test_where_no_process_can_be_started_calls_fail_and_nobody_waits(monkeypatch: pytest.MonkeyPatch):
    real = gateway.engines.dsp.Child
    started = 0

    def once(*args: Any) -> Any:
        nonlocal started
        started += 1
        if started > 1:
            raise OSError(errno.EAGAIN, "no room for another process")
        return real(*args)

    monkeypatch.setattr(gateway.engines.dsp, "Child", once)
    dsp = Dsp()
    async with asyncio.timeout(60):
        ended = await asyncio.gather(dsp.run(die), *(dsp.run(nap, 0.05) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(error, ChunkRefused) for error in ended)
        assert "cannot start: no room for another process" in str(ended[-1])
        monkeypatch.setattr(gateway.engines.dsp, "Child", real)
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
    dsp = Dsp(limit_s=10)  # a new process has to start within it, on a busy machine too
    with pytest.raises(ChunkRefused, match="SIGKILL"):
        await dsp.run(nap, 3600)
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

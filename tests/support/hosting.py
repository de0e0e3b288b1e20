"""Builds real hosts around the scripted backend, with short times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.posting import post

from backends.interface import BackendContext
from backends.testing.scripted import ScriptedBackend, ScriptedSettings
from gateway.clock import Clock, SystemClock
from gateway.engines.chunk import ChunkSpec
from gateway.engines.dsp import Dsp
from gateway.engines.host import Host
from gateway.engines.hosts import HOSTS
from gateway.engines.order import ChunkOrder
from gateway.engines.scale import Scale
from gateway.engines.worker import WorkerSpec
from storage.records import Lane

GUARD_S = 60.0
"""Longest time a test waits; no test asserts on it."""


def order(text: str = "A sentence to speak.", *, tenant: str = "anna", job: str = "job", index: int = 0, **rest: Any):
    lane = rest.pop("lane", Lane.LONG)
    voice = ScriptedBackend(ScriptedSettings(), context()).voices()[0]
    return ChunkOrder(tenant, job, index, ChunkSpec(text, voice, "en", 7, options=rest), lane)


def context() -> BackendContext:
    return BackendContext(Path("unused"))


@asynccontextmanager
async def hosting(
    scale: Scale | None = None,
    start: bool = False,
    backend: type = ScriptedBackend,
    clock: Clock | None = None,
    **settings: Any,
) -> AsyncIterator[Host]:
    own = ScriptedSettings(**settings)
    scale = scale or Scale(0, 1, restart_s=0.05)
    spec = WorkerSpec(backend, own, context(), post, beat_s=scale.chunk_timeout_s / 4)
    clock = clock or SystemClock()
    dsp = Dsp(clock=clock)
    make = HOSTS[own.host].workers(spec, dsp, clock)
    host = Host("scripted", own.revision, own.concurrency, scale, make, clock)
    if start:
        host.start()
    try:
        yield host
    finally:
        await host.stop(0.5)
        await dsp.stop()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(GUARD_S):
        while not condition():
            await asyncio.sleep(0.01)


async def outcome(ticket) -> Any:
    """Return the take, or the error of the chunk."""
    async with asyncio.timeout(GUARD_S):
        return (await asyncio.gather(ticket.future, return_exceptions=True))[0]

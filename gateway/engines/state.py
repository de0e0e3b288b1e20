"""What people and the claimer may know of a host."""

from __future__ import annotations

import msgspec

from backends.interface import BackendUnavailable


class HostState(msgspec.Struct, frozen=True):
    """How a host is.

    Args:
        initializing: workers that load, loaded ones that get another model among them.
        idle: loaded workers without a chunk.
        running: workers that speak.
        unhealthy: 1 while a worker is missing after a crash and its restart is awaited.
        waiting: chunks in the queue.
        loading_share: of the worker that is furthest, in [0, 1]; 0 when none loads.
        last_error: why the last worker died; None before the first death and after the next take.
        unavailable: why the backend cannot run, while that is so.
        restarts: workers that died since the start.
        pids: of the worker processes.
    """

    initializing: int
    idle: int
    running: int
    unhealthy: int
    waiting: int
    loading_share: float
    loading_text: str
    last_error: str | None
    unavailable: BackendUnavailable | None
    restarts: int
    pids: tuple[int, ...]

"""The state of a host, for the claimer, `/health` and the command line."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from backends.interface import BackendUnavailable
from gateway.engines.health import WorkerHealth
from gateway.engines.hosted_worker import HostedWorker, Phase


class HostState(msgspec.Struct, frozen=True):
    """The state of a host at one moment.

    Args:
        initializing: workers that load, including ready ones that load another model.
        idle: loaded workers without a chunk.
        running: workers that speak.
        unhealthy: 1 while a worker is missing after a crash and its restart is awaited.
        waiting: chunks in the queue.
        loading_share: of the worker that is furthest, in [0, 1]; 0 when none loads.
        last_error: reason of the last worker's death; None before the first death and after the next take.
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

    @classmethod
    def of(cls, workers: Sequence[HostedWorker], waiting: int, health: WorkerHealth) -> HostState:
        """Build the state of a host with these workers."""
        ready = [hosted for hosted in workers if hosted.phase is Phase.READY]
        usable = [hosted for hosted in ready if not hosted.loads_more]
        loading = [hosted for hosted in ready if hosted.loads_more]
        loading += [hosted for hosted in workers if hosted.phase is Phase.LOADING]
        furthest = max(loading, key=lambda hosted: hosted.loading_share, default=None)
        return cls(
            initializing=len(loading),
            idle=sum(not hosted.held for hosted in usable),
            running=sum(bool(hosted.held) for hosted in usable),
            unhealthy=int(health.failing and not ready),
            waiting=waiting,
            loading_share=furthest.loading_share if furthest else 0.0,
            loading_text=furthest.loading_text if furthest else "",
            last_error=health.last_error,
            unavailable=health.unavailable,
            restarts=health.restarts,
            pids=tuple(pid for hosted in workers if (pid := hosted.worker.pid) is not None),
        )

"""Runs signal processing in small processes, off the event loop.

They finish takes of inline backends, stretch stored takes, and decode uploads. Uploads have a lane of their own: a
recording that takes long to decode delays no take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

from gateway.clock import Clock
from gateway.engines.errors import CallLost, ChunkRefused
from gateway.engines.pool import PoolLimits, ProcessPool, default_processes, main

T = TypeVar("T")

Lane: TypeAlias = Literal["takes", "uploads"]

__all__ = ["Dsp", "Lane", "main"]


class Dsp:
    """Runs module-level functions in a few processes of each lane, which start on demand and end when idle.

    When a process dies, only its present call fails.
    """

    def __init__(
        self, takes: PoolLimits | None = None, uploads: PoolLimits | None = None, clock: Clock | None = None
    ) -> None:
        limits: dict[Lane, PoolLimits] = {
            "takes": takes or PoolLimits(default_processes(), keep=1),
            # One owner never gets all of them.
            "uploads": uploads or PoolLimits(3, per_owner=2),
        }
        self._lanes = {lane: ProcessPool(__name__, limits, clock) for lane, limits in limits.items()}

    async def run(self, function: Callable[..., T], *args: Any, lane: Lane = "takes", owner: str | None = None) -> T:
        """Compute `function(*args)` in a process; its exceptions are raised here.

        Args:
            owner: of an upload; the uploads of several owners take turns.

        Raises:
            ChunkRefused: the process died or hung in this call.
            HostStopped: the gateway is stopping.
        """
        try:
            return await self._lanes[lane].run(function, *args, owner=owner)
        except CallLost as error:
            raise ChunkRefused("failed", f"the signal processing worker {error}", True) from error

    async def stop(self) -> None:
        """End the processes."""
        for pool in self._lanes.values():
            await pool.stop()

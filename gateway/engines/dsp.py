"""Small processes for signal processing that must not run on the event loop.

Takes of inline backends are finished here, stored takes are stretched, and uploads are decoded: in a lane of their
own, so that a recording that takes long to decode stands before no take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, TypeVar

from gateway.engines.errors import CallLost, ChunkRefused
from gateway.engines.pool import PoolLimits, ProcessPool, as_many_as_cores, main

T = TypeVar("T")

Lane: TypeAlias = Literal["takes", "uploads"]

__all__ = ["Dsp", "Lane", "main"]


class Dsp:
    """Runs module-level functions in a few processes of each lane, which start on demand and end when idle.

    When a process dies, only the call it was at fails.
    """

    def __init__(self, takes: PoolLimits | None = None, uploads: PoolLimits | None = None) -> None:
        limits: dict[Lane, PoolLimits] = {
            "takes": takes or PoolLimits(as_many_as_cores(), kept=1),
            # One owner has never all of them.
            "uploads": uploads or PoolLimits(3, each=2),
        }
        self._lanes = {lane: ProcessPool(__name__, limits) for lane, limits in limits.items()}

    async def run(self, function: Callable[..., T], *args: Any, lane: Lane = "takes", owner: str | None = None) -> T:
        """`function(*args)`, computed there; what it raises is raised here.

        Args:
            owner: of an upload; the uploads of several owners take turns.

        Raises:
            ChunkRefused: the process died or hung at it.
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

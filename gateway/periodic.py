"""Runs the periodic work of a server: waits on the server's clock, and logs a round that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.clock import Clock
from gateway.settings.logs import get_logger
from storage.errors import StorageError

Step = Callable[[], Awaitable[object]]

log = get_logger("voxgate.periodic")


class Periodic:
    """Holds the loops of one part of a server.

    A loop ends only when it is stopped. If a failure ended it, leases would expire and revoked keys would be accepted.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def every(self, seconds: float, work: str, step: Step, *, first: tuple[Step, ...] = ()) -> None:
        """Run `step` again and again, `seconds` after the start and after each round.

        Args:
            work: the name of the work in log lines.
            first: steps that run once, at the start.
        """
        self._tasks.append(asyncio.create_task(self._every(seconds, work, step, first), name=work))

    def whenever(self, told: asyncio.Event, work: str, step: Step) -> None:
        """Run `step` each time the event is set."""
        self._tasks.append(asyncio.create_task(self._whenever(told, work, step), name=work))

    async def stop(self) -> None:
        """Stop all loops."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # a round logs its own failure

    async def _every(self, seconds: float, work: str, step: Step, first: tuple[Step, ...]) -> None:
        for one in first:
            await attempt(work, one)
        while True:
            await self._clock.sleep(seconds)
            await attempt(work, step)

    async def _whenever(self, told: asyncio.Event, work: str, step: Step) -> None:
        while True:
            await told.wait()
            told.clear()
            await attempt(work, step)


async def attempt(work: str, step: Step) -> None:
    """Run one round; log its failure under the name of the work."""
    try:
        await step()
    except StorageError as error:
        log.error("round_failed", work=work, code=error.code, reason=str(error))
    except Exception:
        log.exception("round_crashed", work=work)

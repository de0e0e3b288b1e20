"""Flights: single-flight execution. Several callers with one key wait for one piece of work.

The first caller starts it; the rest share its result. The work is cancelled only when its last caller has left. Its
rank is the earliest lane of all callers it has ever had.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from gateway.engines.order import Rank

T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self, task: asyncio.Task[T], rank: Rank) -> None:
        self.task = task
        self.rank = rank
        self.waiting = 0


class Flights(Generic[T]):
    """Runs one flight per key, inside this process."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def join(self, key: str, start: Callable[[Rank], Awaitable[T]], rank: Rank) -> tuple[T, bool]:
        """Join or start the flight of `key`; return its result, and True if this caller started it.

        Args:
            start: starts the work; gets the flight's own rank, which callers of an earlier lane lift when they join.
            rank: the caller's rank; a lift of it during the wait lifts the flight too.

        Raises the flight's exception to every caller. A cancelled caller does not cancel the flight for the others.
        """
        flight = self._flights.get(key)
        led = flight is None
        if flight is None:
            own = Rank(rank.lane)
            flight = _Flight(asyncio.ensure_future(_as_coroutine(start, own)), own)
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _: self._land(key, flight))
        flight.waiting += 1
        try:
            with rank.lifting(flight.rank.lift):
                return await asyncio.shield(flight.task), led
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and not flight.task.done():
                # Remove it first: a caller that joined a flight under cancellation would be cancelled with it.
                self._land(key, flight)
                flight.task.cancel()

    def _land(self, key: str, flight: _Flight[T] | None) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _as_coroutine(start: Callable[[Rank], Awaitable[T]], rank: Rank) -> T:
    return await start(rank)

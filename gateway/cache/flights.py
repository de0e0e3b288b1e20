"""Flights: one piece of work that several callers wait for.

The first caller starts it; the rest share its result. It is cancelled only when the last of them has gone, and it is
in the earliest lane of all who ever waited for it.
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
    """Work in flight by key, inside this process."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def join(self, key: str, start: Callable[[Rank], Awaitable[T]], rank: Rank) -> tuple[T, bool]:
        """The result under `key`, and whether this caller led the flight.

        Args:
            start: given the flight's own rank, which callers of an earlier lane lift when they join.
            rank: the caller's; lifted while it waits here, it lifts the flight.

        Raises whatever the flight raised, to everyone on it. A caller that is cancelled leaves the others aboard.
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
                # Nobody may join a flight that is being cancelled: they would share its end.
                self._land(key, flight)
                flight.task.cancel()

    def _land(self, key: str, flight: _Flight[T] | None) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _as_coroutine(start: Callable[[Rank], Awaitable[T]], rank: Rank) -> T:
    return await start(rank)

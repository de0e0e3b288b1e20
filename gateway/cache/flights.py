"""Flights: one piece of work that several callers wait for.

Whoever comes first starts it; the rest share its result. It is cancelled only when the last of them has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Flight(Generic[T]):
    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.waiting = 0


class Flights(Generic[T]):
    """Work in flight by key, inside this process."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def join(self, key: str, start: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The result under `key`, and whether this caller led the flight.

        Raises whatever the flight raised, to everyone on it. A caller that is cancelled leaves the others aboard.
        """
        flight = self._flights.get(key)
        led = flight is None
        if flight is None:
            flight = _Flight(asyncio.ensure_future(_as_coroutine(start)))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda _: self._land(key, flight))
        flight.waiting += 1
        try:
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


async def _as_coroutine(start: Callable[[], Awaitable[T]]) -> T:
    return await start()

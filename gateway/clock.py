"""The one clock. Wall time is for people and rows; monotonic time is for every decision."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What time it is; tests pass their own."""

    def now_ms(self) -> int:
        """Wall time in UTC milliseconds since 1970; may jump."""

    def monotonic(self) -> float:
        """Seconds that never go back, comparable only inside one process."""

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        """Wall time in UTC milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """`time.monotonic()`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """`asyncio.sleep`."""
        await asyncio.sleep(seconds)


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set, at most so long; whether it was.

    A cancel always ends it. `asyncio.wait_for` of Python 3.11 forgets one that comes in the moment in which the event
    is set, and a loop around it then goes on for ever.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

"""The one clock. Wall time is for people and rows; monotonic time is for every decision.

A job's ttl, its times, signed addresses and the windows of limits are wall time, since they outlive a process and are
shared by servers. So a server's wall time never jumps: where the machine's does (somebody sets it, a time server steps
it), it follows at nine or eleven tenths of its pace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """What time it is; tests pass their own."""

    def now_ms(self) -> int:
        """Wall time in UTC milliseconds since 1970."""

    def monotonic(self) -> float:
        """Seconds that never go back, comparable only inside one process."""

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""


def _machine_ms() -> int:
    return time.time_ns() // 1_000_000


def _elapsed() -> float:
    """Seconds of this machine, those in which it slept included where it can tell: a laptop's night is no jump."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_SLEW = 0.1
_LOOK_S = 1.0


class SystemClock:
    """The machine's clocks, whose wall time never jumps while the process lives.

    Args:
        wall_ms: what the time is, in UTC milliseconds; may jump.
        elapsed: seconds that never jump.
    """

    # The machine's, also for a clock of a test that makes itself in another way.
    elapsed: Callable[[], float] = staticmethod(_elapsed)
    _wall_ms: Callable[[], int] = staticmethod(_machine_ms)
    _followed: tuple[float, int] | None = None
    _since: tuple[float, float, float] | None = None
    """Since when, the time then, and by how much it was off: read and replaced as one, by any thread."""

    def __init__(self, wall_ms: Callable[[], int] = _machine_ms, elapsed: Callable[[], float] = _elapsed) -> None:
        self._wall_ms = wall_ms
        self.elapsed = elapsed
        self._since = (elapsed(), float(wall_ms()), 0.0)

    def now_ms(self) -> int:
        """Wall time in UTC milliseconds since 1970.

        It is the machine's when the process starts. Later a difference is made up for by at most a tenth of the time
        that goes by: an hour in ten.
        """
        at = self.elapsed()
        since, then_ms, off_ms = self._since or (at, float(self._wall_ms()), 0.0)
        gone_ms = 1000 * (at - since)
        now_ms = then_ms + gone_ms + max(-_SLEW * gone_ms, min(_SLEW * gone_ms, off_ms))
        if gone_ms > 1000 * _LOOK_S:
            self._since = (at, now_ms, self._true_ms(at) - now_ms)
        return int(now_ms)

    def begin(self, now_ms: int) -> None:
        """Go on from this time, which other servers have come to, instead of from the machine's."""
        at = self.elapsed()
        self._since = (at, float(now_ms), self._true_ms(at) - now_ms)

    def follow(self, true_ms: int) -> None:
        """From now on go by another clock, which several servers share, and no more by the machine's.

        Args:
            true_ms: what it says now. The first time this is the time at once, since nothing was done yet by another.
        """
        at = self.elapsed()
        first, self._followed = self._followed is None, (at, true_ms)
        now_ms = float(true_ms if first else self.now_ms())
        self._since = (at, now_ms, true_ms - now_ms)

    def _true_ms(self, at: float) -> float:
        if self._followed is None:
            return float(self._wall_ms())
        looked, true_ms = self._followed
        return true_ms + 1000 * (at - looked)

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

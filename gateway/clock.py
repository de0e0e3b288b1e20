"""The clock of a server: wall time for rows and people, monotonic time for time-outs and intervals.

A job's ttl, its times, signed addresses and the windows of limits use wall time, since they outlive a process and are
shared by servers. A server's wall time therefore never jumps: when the machine's clock jumps (it was set by hand or
stepped by a time server), the server's time approaches it at 0.9 or 1.1 times the normal pace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Drop the call, unless it was made."""


class Clock(Protocol):
    """The interface of a clock; tests pass their own."""

    def now_ms(self) -> int:
        """Return the wall time in UTC milliseconds since 1970."""

    def monotonic(self) -> float:
        """Return seconds that never go back, comparable only inside one process."""

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Call `call` on the event loop after this time."""


def _machine_ms() -> int:
    return time.time_ns() // 1_000_000


def _elapsed() -> float:
    """Return elapsed seconds, time in suspend included where the system counts it, so that suspend is no jump."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_SLEW = 0.1
_LOOK_S = 1.0


class SystemClock:
    """The machine's clocks, with a wall time that never jumps while the process lives.

    Args:
        wall_ms: gives the machine's wall time in UTC milliseconds; may jump.
        elapsed: gives seconds that never jump.
    """

    # Defaults at class level: a test's clock may not call this __init__.
    elapsed: Callable[[], float] = staticmethod(_elapsed)
    _wall_ms: Callable[[], int] = staticmethod(_machine_ms)
    _followed: tuple[float, int] | None = None
    _since: tuple[float, float, float] | None = None
    """Start of the current slew: elapsed s, wall ms then, offset in ms. Replaced as one tuple, so threads can read."""

    def __init__(self, wall_ms: Callable[[], int] = _machine_ms, elapsed: Callable[[], float] = _elapsed) -> None:
        self._wall_ms = wall_ms
        self.elapsed = elapsed
        self._since = (elapsed(), float(wall_ms()), 0.0)

    def now_ms(self) -> int:
        """Return the wall time in UTC milliseconds since 1970.

        It equals the machine's when the process starts. A later difference is corrected by at most a tenth of the
        elapsed time: one hour in ten.
        """
        at = self.elapsed()
        since, then_ms, off_ms = self._since or (at, float(self._wall_ms()), 0.0)
        gone_ms = 1000 * (at - since)
        most_ms = _SLEW * gone_ms
        # Comparisons instead of min and max: every answer from memory reads the time.
        correction_ms = most_ms if off_ms > most_ms else -most_ms if off_ms < -most_ms else off_ms
        now_ms = then_ms + gone_ms + correction_ms
        if gone_ms > 1000 * _LOOK_S:
            self._since = (at, now_ms, self._true_ms(at) - now_ms)
        return int(now_ms)

    def begin(self, now_ms: int) -> None:
        """Continue from this time, which other servers have reached, instead of from the machine's."""
        at = self.elapsed()
        self._since = (at, float(now_ms), self._true_ms(at) - now_ms)

    def follow(self, true_ms: int) -> None:
        """Follow a clock that several servers share, and no longer the machine's.

        Args:
            true_ms: its time now. The first call sets it at once, since no row was written with another time yet.
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

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """`loop.call_later`."""
        return asyncio.get_running_loop().call_later(seconds, call)


class Alarm:
    """Calls a function at one time, which can be set again; an earlier setting is then void."""

    def __init__(self, clock: Clock, call: Callable[[], object]) -> None:
        self._clock = clock
        self._call = call
        self._timer: Timer | None = None

    def set(self, seconds: float | None) -> None:
        """Set the time to `seconds` from now; None switches the alarm off."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self._clock.call_later(seconds, self._call)


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait until the event is set, at most `seconds`; return whether it was set.

    A cancel always ends the wait. `asyncio.wait_for` of Python 3.11 loses a cancel that comes in the moment the event
    is set, and a loop around it then never ends.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

"""Clocks that tests change while a real gateway runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.clock import SystemClock, Timer


class JumpyClock(SystemClock):
    """The machine's clocks, with offsets that a test sets."""

    ahead_ms = 0
    ahead_s = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class HeldTimer:
    """A timer of a HeldClock."""

    def __init__(self, timers: dict[HeldTimer, float], call: Callable[[], object]) -> None:
        self._timers = timers
        self.call = call

    def cancel(self) -> None:
        self._timers.pop(self, None)


class HeldClock(JumpyClock):
    """A clock on which sleeps and timers of a second or more end only when the test lets their time pass."""

    def __init__(self) -> None:
        super().__init__()
        self._sleeping: dict[asyncio.Future[None], float] = {}
        self._timers: dict[HeldTimer, float] = {}

    @property
    def sleeps(self) -> list[float]:
        """Return the seconds that are left to each sleeper."""
        return sorted(self._sleeping.values())

    async def sleep(self, seconds: float) -> None:
        if seconds < 1:
            await super().sleep(seconds)
            return
        passed = asyncio.get_running_loop().create_future()
        self._sleeping[passed] = seconds
        try:
            await passed
        finally:
            self._sleeping.pop(passed, None)

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        if seconds < 1:
            return super().call_later(seconds, call)
        timer = HeldTimer(self._timers, call)
        self._timers[timer] = self.monotonic() + seconds
        return timer

    def let_pass(self, seconds: float) -> None:
        """Let time pass for all sleepers and timers."""
        self.ahead_s += seconds
        for timer, due in list(self._timers.items()):
            if due <= self.monotonic() and self._timers.pop(timer, None) is not None:
                asyncio.get_running_loop().call_soon(timer.call)
        for passed in list(self._sleeping):
            self._sleeping[passed] -= seconds
            if self._sleeping[passed] <= 0 and not passed.done():
                passed.set_result(None)

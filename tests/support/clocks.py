"""Clocks that tests change while a real gateway runs."""

from __future__ import annotations

from gateway.clock import SystemClock


class JumpyClock(SystemClock):
    """The machine's clocks, with offsets that a test sets."""

    ahead_ms = 0
    ahead_s = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s

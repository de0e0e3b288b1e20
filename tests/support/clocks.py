"""Clocks that tests turn while a real gateway runs."""

from __future__ import annotations

from gateway.clock import SystemClock


class JumpyClock(SystemClock):
    """The machine's clocks, and what somebody made of them."""

    ahead_ms = 0
    ahead_s = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s

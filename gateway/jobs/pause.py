"""How long jobs wait for storage that cannot be written."""

from __future__ import annotations

import time

FIRST_S = 2.0
LONGEST_S = 30.0


class Pause:
    """Grows with every failure in a row: what is spoken meanwhile cannot be kept, and somebody pays for it."""

    def __init__(self) -> None:
        self._length_s = 0.0
        self._until = 0.0

    def next_ms(self) -> int:
        """Storage has failed: milliseconds until it is tried again. Jobs that fail together wait together."""
        now = time.monotonic()
        if now >= self._until:
            self._length_s = min(max(FIRST_S, 2 * self._length_s), LONGEST_S)
            self._until = now + self._length_s
        return max(1, round(1000 * (self._until - now)))

    def over(self) -> None:
        """Storage works."""
        self._length_s = 0.0

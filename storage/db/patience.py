"""The retry budget for a database that is away: requests wait through a short restart instead of failing."""

from __future__ import annotations

import time

_STEP_S = 0.1


class Patience:
    """Allows retries until `seconds` after the first failure of an outage; after that, operations fail at once.

    Args:
        seconds: 0 for no retries.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def renew(self) -> None:
        """Note a success: the outage is over."""
        self._since = None

    def left(self) -> bool:
        """Note a failure; return whether to try again."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        return now - self._since < self._seconds

    def wait(self) -> bool:
        """As `left`, then sleep shortly before a retry. Blocks."""
        left = self.left()
        if left:
            time.sleep(_STEP_S)
        return left

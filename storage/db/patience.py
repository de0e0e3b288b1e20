"""How long we wait for a database that has gone away and may come back: a restart is no reason to fail anybody."""

from __future__ import annotations

import time

_STEP_S = 0.1


class Patience:
    """Runs out so many seconds after the first failure of an outage; whoever comes later fails at once.

    Args:
        seconds: 0 for none.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def renew(self) -> None:
        """It works."""
        self._since = None

    def left(self) -> bool:
        """It has failed: whether to try again."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        return now - self._since < self._seconds

    def wait(self) -> bool:
        """As `left`, after a short sleep. Blocks."""
        left = self.left()
        if left:
            time.sleep(_STEP_S)
        return left

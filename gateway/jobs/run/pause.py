"""How long jobs wait for storage that cannot be written, or has no room for them."""

from __future__ import annotations

import time

FIRST_S = 2.0
LONGEST_S = 30.0
LONGEST_FOR_ROOM_S = 300.0
"""Of a job whose own audio found no room on a disk that is not full: each try speaks it again, or encodes it."""
_MOST = 10_000


class StoragePause:
    """Grows with every failure in a row: what is spoken meanwhile cannot be kept, and somebody pays for it."""

    def __init__(self, longest_s: float = LONGEST_S) -> None:
        self._longest_s = longest_s
        self._length_s = 0.0
        self._until = 0.0

    def next_ms(self) -> int:
        """Storage has failed: milliseconds until it is tried again. Jobs that fail together wait together."""
        now = time.monotonic()
        if now >= self._until:
            self._length_s = min(max(FIRST_S, 2 * self._length_s), self._longest_s)
            self._until = now + self._length_s
        return max(1, round(1000 * (self._until - now)))

    def over(self) -> None:
        """Storage works."""
        self._length_s = 0.0


class PausesForRoom:
    """A pause for each job that found no room: other jobs, that are shorter, may find some and say nothing of it."""

    def __init__(self) -> None:
        self._pauses: dict[str, StoragePause] = {}

    def next_ms(self, job_id: str) -> int:
        """There was no room for this job: milliseconds until it is tried again."""
        pause = self._pauses.pop(job_id, None) or StoragePause(LONGEST_FOR_ROOM_S)
        self._pauses[job_id] = pause
        if len(self._pauses) > _MOST:
            del self._pauses[next(iter(self._pauses))]  # the one that tried longest ago, or has ended elsewhere
        return pause.next_ms()

    def over(self, job_id: str) -> None:
        """It has ended."""
        self._pauses.pop(job_id, None)

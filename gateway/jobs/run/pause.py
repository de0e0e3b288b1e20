"""Pauses before jobs are tried again after storage could not be written or had no room."""

from __future__ import annotations

from gateway.clock import Clock

FIRST_S = 2.0
LONGEST_S = 30.0
LONGEST_FOR_ROOM_S = 300.0
"""For a job whose audio did not fit on a disk that is not full: each try speaks or encodes it again."""
_MOST = 10_000


class StoragePause:
    """A pause that grows with each failure in a row, since speech that cannot be stored costs time or money."""

    def __init__(self, clock: Clock, longest_s: float = LONGEST_S) -> None:
        self._clock = clock
        self._longest_s = longest_s
        self._length_s = 0.0
        self._until = 0.0

    def next_ms(self) -> int:
        """Return the milliseconds until the next try after a failure. Jobs that fail together wait together."""
        now = self._clock.monotonic()
        if now >= self._until:
            self._length_s = min(max(FIRST_S, 2 * self._length_s), self._longest_s)
            self._until = now + self._length_s
        return max(1, round(1000 * (self._until - now)))

    def over(self) -> None:
        """Reset the pause, since storage works."""
        self._length_s = 0.0


class PausesForRoom:
    """Keeps one pause per job that found no room, since the success of a shorter job proves nothing for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pauses: dict[str, StoragePause] = {}

    def next_ms(self, job_id: str) -> int:
        """Return the milliseconds until the next try of a job that found no room."""
        pause = self._pauses.pop(job_id, None) or StoragePause(self._clock, LONGEST_FOR_ROOM_S)
        self._pauses[job_id] = pause
        if len(self._pauses) > _MOST:
            del self._pauses[next(iter(self._pauses))]  # the oldest: it may have ended at another server
        return pause.next_ms()

    def over(self, job_id: str) -> None:
        """Forget the pause of a job that has ended."""
        self._pauses.pop(job_id, None)

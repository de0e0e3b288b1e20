"""Tally: the jobs that this process has ended or requeued since the last full count.

Counting all finished jobs gets slower with their number, so it is done seldom. Changes in between are noted on the
transaction that writes them, and added to the tally after its commit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection

from storage.records import JobState

_KEY = "voxgate_tally"


class Ended(msgspec.Struct, frozen=True):
    """Finished jobs of an endpoint; `failed` includes timed-out jobs, `retried` counts every repeated attempt."""

    completed: int = 0
    failed: int = 0
    retried: int = 0

    def plus(self, other: Ended) -> Ended:
        """Return the sum of both."""
        return Ended(self.completed + other.completed, self.failed + other.failed, self.retried + other.retried)

    @classmethod
    def of(cls, state: JobState, jobs: int = 1, retried: int = 0) -> Ended:
        """Count jobs of one state; unfinished and cancelled jobs count only as `retried`."""
        return cls(
            jobs if state is JobState.COMPLETED else 0,
            jobs if state in (JobState.FAILED, JobState.TIMED_OUT) else 0,
            retried,
        )


EndedCounts = list[tuple[str, Ended]]
"""Endpoint ids, and the counts to add to each."""


def note_counts(connection: Connection, counts: Iterable[tuple[str, Ended]]) -> None:
    """Add these counts to the tally when the connection's transaction commits."""
    connection.info.setdefault(_KEY, []).extend(counts)


def take_counts(connection: Connection) -> EndedCounts:
    """Return and clear the counts noted by the transaction so far."""
    counts: EndedCounts = connection.info.pop(_KEY, [])
    return counts


class Tally:
    """Sums of counts by endpoint; the writers' threads add, other threads read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, Ended] = {}

    def add(self, counts: Iterable[tuple[str, Ended]]) -> None:
        """Add committed counts."""
        with self._lock:
            for endpoint_id, ended in counts:
                self._sums[endpoint_id] = self._sums.get(endpoint_id, _NOTHING).plus(ended)

    def of(self, endpoint_id: str) -> Ended:
        """Return the counts of an endpoint since the last `take`."""
        return self._sums.get(endpoint_id, _NOTHING)

    def take(self) -> dict[str, Ended]:
        """Return all sums and reset them."""
        with self._lock:
            sums, self._sums = self._sums, {}
        return sums

    def __bool__(self) -> bool:
        """Return whether anything was added since the last `take`."""
        return bool(self._sums)


_NOTHING = Ended()

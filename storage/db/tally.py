"""Jobs that this process has ended or queued again since the database's were counted last.

Counting all finished jobs takes longer the more there are, so it is done now and then. What is written meanwhile is
noted on the transaction that writes it, and added once that has committed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection

from storage.records import JobState

_KEY = "voxgate_tally"


class Ended(msgspec.Struct, frozen=True):
    """Finished jobs of an endpoint; `failed` includes those that timed out, `retried` counts every second try."""

    completed: int = 0
    failed: int = 0
    retried: int = 0

    def plus(self, other: Ended) -> Ended:
        """The sum of both."""
        return Ended(self.completed + other.completed, self.failed + other.failed, self.retried + other.retried)

    @classmethod
    def of(cls, state: JobState, jobs: int = 1, retried: int = 0) -> Ended:
        """Jobs of one state; those that are not finished, or cancelled, count only for what was retried."""
        return cls(
            jobs if state is JobState.COMPLETED else 0,
            jobs if state in (JobState.FAILED, JobState.TIMED_OUT) else 0,
            retried,
        )


Moves = list[tuple[str, Ended]]
"""Endpoint ids, and what came to each."""


def note(connection: Connection, moves: Iterable[tuple[str, Ended]]) -> None:
    """Add these to the tally when the connection's transaction commits."""
    connection.info.setdefault(_KEY, []).extend(moves)


def take_noted(connection: Connection) -> Moves:
    """What the transaction has noted so far; forgets it."""
    noted: Moves = connection.info.pop(_KEY, [])
    return noted


class Tally:
    """Sums by endpoint; the writer's thread adds, others read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, Ended] = {}

    def add(self, moves: Iterable[tuple[str, Ended]]) -> None:
        """Count what was committed."""
        with self._lock:
            for endpoint_id, ended in moves:
                self._sums[endpoint_id] = self._sums.get(endpoint_id, _NOTHING).plus(ended)

    def of(self, endpoint_id: str) -> Ended:
        """What came to an endpoint since the last `take`."""
        return self._sums.get(endpoint_id, _NOTHING)

    def take(self) -> dict[str, Ended]:
        """All sums; begins anew."""
        with self._lock:
            sums, self._sums = self._sums, {}
        return sums

    def __bool__(self) -> bool:
        """Whether anything was added since the last `take`."""
        return bool(self._sums)


_NOTHING = Ended()

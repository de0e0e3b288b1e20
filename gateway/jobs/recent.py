"""Jobs this server has just completed, so that the poll after them needs no database.

Only COMPLETED jobs are kept: that state can never change, whatever another server does.
"""

from __future__ import annotations

from collections import OrderedDict

from gateway.clock import Clock
from storage.records import JobRecord

KEEP_S = 120.0


class Recent:
    """Completed jobs by id, bounded in number and age."""

    def __init__(self, clock: Clock, capacity: int = 10_000) -> None:
        self._clock = clock
        self._capacity = capacity
        self._jobs: OrderedDict[str, tuple[JobRecord, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: JobRecord) -> None:
        """Remember a completed job."""
        self._jobs[job.id] = (job, self._clock.monotonic() + KEEP_S)
        while len(self._jobs) > self._capacity:
            self._jobs.popitem(last=False)

    def get(self, job_id: str) -> JobRecord | None:
        """The job, unless it is too old; the oldest are dropped on the way."""
        now = self._clock.monotonic()
        while self._jobs:
            oldest = next(iter(self._jobs))
            if self._jobs[oldest][1] > now:
                break
            del self._jobs[oldest]
        found = self._jobs.get(job_id)
        return found[0] if found else None

    def forget(self, job_id: str) -> None:
        """Drop a job, because its row was deleted."""
        self._jobs.pop(job_id, None)

"""Jobs this server has just completed, so that the poll after them needs no database.

Only COMPLETED jobs are kept: that state can never change, whatever another server does.
"""

from __future__ import annotations

from gateway.cache.hot import HotTier, beside, held_by
from gateway.clock import Clock
from storage.records import JobRecord

KEEP_S = 120.0
SHARE = 32
OVERHEAD_BYTES = 1_500


class Recent:
    """Completed jobs by id, bounded in bytes and age."""

    def __init__(self, clock: Clock, hot_bytes: int) -> None:
        """`hot_bytes`: of audio that is kept in memory."""
        self._clock = clock
        self._jobs: HotTier[tuple[JobRecord, float]] = HotTier(beside(hot_bytes, SHARE))

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return self._jobs.size_bytes

    def add(self, job: JobRecord) -> None:
        """Remember a completed job."""
        size_bytes = held_by(job.request, job.output, job.error, job.webhook) + OVERHEAD_BYTES
        self._jobs.put(job.id, (job, self._clock.monotonic() + KEEP_S), size_bytes)

    def get(self, job_id: str) -> JobRecord | None:
        """The job, unless it is too old."""
        found = self._jobs.get(job_id)
        if found is None:
            return None
        job, until = found
        if until < self._clock.monotonic():
            self._jobs.drop(job_id)
            return None
        return job

    def forget(self, job_id: str) -> None:
        """Drop a job, because its row was changed."""
        self._jobs.drop(job_id)

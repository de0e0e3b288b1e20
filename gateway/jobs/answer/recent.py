"""Keeps the jobs that this server has just completed in memory, so that the next poll needs no database.

Only COMPLETED jobs are kept: no server ever changes that state.
"""

from __future__ import annotations

from gateway.cache.hot import HotTier, beside, held_by
from gateway.clock import Clock
from storage.records import JobRecord

KEEP_S = 120.0
SHARE = 32
OVERHEAD_BYTES = 1_500


class Recent:
    """A memo of completed jobs by id, bounded in bytes and age."""

    def __init__(self, clock: Clock, hot_bytes: int) -> None:
        """Make a memo; `hot_bytes` is the maximum of audio kept in memory, and the memo's limit a share of it."""
        self._clock = clock
        self._jobs: HotTier[tuple[JobRecord, float]] = HotTier(beside(hot_bytes, SHARE))

    @property
    def size_bytes(self) -> int:
        """Bytes it holds."""
        return self._jobs.size_bytes

    def add(self, job: JobRecord) -> None:
        """Remember a completed job."""
        size_bytes = held_by(job.request, job.output, job.error, job.webhook) + OVERHEAD_BYTES
        self._jobs.put(job.id, (job, self._clock.monotonic() + KEEP_S), size_bytes)

    def get(self, job_id: str) -> JobRecord | None:
        """Return the job, unless it was added more than `KEEP_S` ago."""
        found = self._jobs.get(job_id)
        if found is None:
            return None
        job, until = found
        if until < self._clock.monotonic():
            self._jobs.drop(job_id)
            return None
        return job

    def forget(self, job_id: str) -> None:
        """Drop a job whose row was changed."""
        self._jobs.drop(job_id)

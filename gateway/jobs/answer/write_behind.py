"""Writes the rows of jobs answered from the in-memory tier after their answers.

A cached `/runsync` is answered first. Its row and its usage follow within `FLUSH_S`, in one transaction; until then
`/status` finds it here. A kill in between loses only these two: the caller has the audio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.clock import Clock
from gateway.periodic import Periodic
from gateway.settings.logs import get_logger
from storage.errors import StorageError
from storage.jobs.queue import JobStore
from storage.records import JobRecord, UsageDelta

FLUSH_S = 0.5
AT_MOST = 10_000
"""Maximum rows that wait while the database cannot be written; above it the oldest are dropped with a log line, and
only their usage is kept."""

log = get_logger("voxgate.jobs")


class WriteBehind:
    """Holds finished jobs and writes them to the database in groups.

    Args:
        note_usage: keeps the usage of a job whose row is dropped.
    """

    def __init__(self, store: JobStore, note_usage: Callable[[JobRecord, UsageDelta], None], clock: Clock) -> None:
        self._store = store
        self._note_usage = note_usage
        self._flushing = asyncio.Lock()
        self._jobs: dict[str, JobRecord] = {}
        self._periodic = Periodic(clock)

    def start(self) -> None:
        """Start to write."""
        self._periodic.every(FLUSH_S, "write behind", self.flush)

    async def stop(self) -> None:
        """Write the remaining rows and stop."""
        await self._periodic.stop()
        await self.flush()

    def add(self, job: JobRecord) -> None:
        """Add a finished job; `get` finds it at once."""
        self._jobs[job.id] = job

    def get(self, job_id: str) -> JobRecord | None:
        """Return a job whose row is not written yet, or None."""
        return self._jobs.get(job_id)

    async def settle(self, job_id: str) -> None:
        """Write this job's row now, before it is changed or read in SQL."""
        if job_id in self._jobs:
            await self.flush()

    async def flush(self) -> None:
        """Write the waiting rows."""
        async with self._flushing:  # rows under way are not written twice
            await self._flush()

    async def _flush(self) -> None:
        jobs = list(self._jobs.values())
        if not jobs:
            return
        try:
            swept = await self._store.insert_many_finished(jobs)
        except StorageError as error:
            log.error("write_behind_failed", code=error.code, reason=str(error), waiting=len(jobs))
            for given_up in list(self._jobs)[:-AT_MOST]:
                log.error("finished_job_given_up", job_id=given_up)
                job = self._jobs.pop(given_up)
                self._note_usage(job, UsageDelta(characters=job.chars, jobs=1, cache_hits=1))
            return
        for job in jobs:
            self._jobs.pop(job.id, None)
        for job_id in swept:
            log.warning("finished_job_not_kept", job_id=job_id, reason="its audio was swept before its row was written")

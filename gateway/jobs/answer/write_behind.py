"""Jobs answered from the in-memory tier, written to the database behind the answer.

A cached `/runsync` is answered first. Its row and its usage follow within `FLUSH_S`, in one transaction; until then
`/status` finds it here. A kill in between loses both, and nothing else: the caller has the audio.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from gateway.settings.logs import get_logger
from storage.errors import StorageError
from storage.jobs.queue import JobStore
from storage.records import JobRecord, UsageDelta

FLUSH_S = 0.5
AT_MOST = 10_000
"""Rows that wait when the database cannot be written; above it the oldest are given up but for their usage, and that
is logged."""

log = get_logger("voxgate.jobs")


class WriteBehind:
    """Finished jobs on their way to the database.

    Args:
        note_usage: keeps the usage of a job whose row is given up.
    """

    def __init__(self, store: JobStore, note_usage: Callable[[JobRecord, UsageDelta], None]) -> None:
        self._store = store
        self._note_usage = note_usage
        self._flushing = asyncio.Lock()
        self._jobs: dict[str, JobRecord] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.create_task(self._loop(), name="write behind")

    async def stop(self) -> None:
        """Write what is left."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self.flush()

    def add(self, job: JobRecord) -> None:
        """A finished job; visible at once."""
        self._jobs[job.id] = job

    def get(self, job_id: str) -> JobRecord | None:
        """A job that is not written yet."""
        return self._jobs.get(job_id)

    async def settle(self, job_id: str) -> None:
        """Have this job's row written before it is changed or read in SQL."""
        if job_id in self._jobs:
            await self.flush()

    async def flush(self) -> None:
        """Write the rows that wait."""
        async with self._flushing:  # what is being written is not written again
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

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
            except Exception:
                log.exception("write_behind_crashed")

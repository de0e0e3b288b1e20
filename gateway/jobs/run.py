"""One attempt at a job: what others look at while it is under way."""

from __future__ import annotations

import asyncio

from gateway.speech.timing import Timing
from storage.records import JobRecord


class Lost(Exception):
    """The lease is somebody else's, or the job has ended: whatever comes of this attempt is thrown away."""


class Run:
    """The state of one attempt that others look at: the heartbeat, the claimer, `/status`.

    Args:
        missed: the cache key under which nothing was found when the job came, a moment ago.

    Attributes:
        chunks_done: as the job's row has it. Callers are told that and no more, so that what they see does not go back
            when another server takes over.
    """

    def __init__(self, job: JobRecord, missed: str | None = None) -> None:
        self.job = job
        self.missed = missed
        self.timing = Timing()
        self.backend = job.backend
        self.chunks_done = job.chunks_done
        self.chunks_total = job.chunks_total
        self._counted = job.chunks_done  # also what the row does not have yet
        self.task: asyncio.Task[None] | None = None
        self.lost = False
        self.completed = False

    @property
    def execution_ms(self) -> int:
        """Execution over all attempts; see Timing for what is work."""
        return self.job.execution_ms + round((self.timing.worked_s() or 0.0) * 1000)

    @property
    def progress(self) -> tuple[int, int, int]:
        """What its beat tells: chunks done, chunks there are, ms of execution."""
        return self._counted, self.chunks_total, self.execution_ms

    def planned(self, total: int) -> None:
        """There are so many chunks; those of an earlier attempt are not done again."""
        self.chunks_total = total
        self.chunks_done, self._counted = min(self.chunks_done, total), min(self._counted, total)

    def counted(self, done: int) -> None:
        """So many chunks are done in this attempt, those that were found included."""
        self._counted = max(self._counted, min(done, self.chunks_total))

    def told(self, done: int) -> None:
        """The job's row says that so many chunks are done."""
        self.chunks_done = max(self.chunks_done, min(done, self._counted))

    def begin_anew(self) -> None:
        """Another backend speaks all of it."""
        self.chunks_done = self._counted = self.chunks_total = 0

    def lose(self) -> None:
        """The job is not ours any more: stop working on it."""
        self.lost = True
        if self.task is not None:
            self.task.cancel()

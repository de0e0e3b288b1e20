"""One attempt at a job: what others look at while it is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.speech.timing import Timing
from storage.records import JobRecord


class Lost(Exception):
    """The lease is somebody else's, or the job has ended: whatever comes of this attempt is thrown away."""


class Run:
    """The state of one attempt that others look at: the heartbeat, the claimer, `/status`.

    Args:
        missed: the cache key under which nothing was found when the job came, a moment ago.
    """

    def __init__(self, job: JobRecord, missed: str | None = None) -> None:
        self.job = job
        self.missed = missed
        self.timing = Timing()
        self.backend = job.backend
        self.chunks_done = job.chunks_done
        self.chunks_total = job.chunks_total
        self.task: asyncio.Task[None] | None = None
        self.lost = False
        self.completed = False
        self.suspect = job.deaths > 0
        """Whether a server has died while it ran the job, and nothing of it was stored since."""
        self.making_room = False
        self.cleared: Callable[[], None] | None = None
        """What to call when the job is no suspect any more."""

    @property
    def execution_ms(self) -> int:
        """Execution over all attempts; see Timing for what is work."""
        return self.job.execution_ms + round((self.timing.worked_s() or 0.0) * 1000)

    @property
    def progress(self) -> tuple[int, int, int]:
        """What its beat tells: chunks done, chunks there are, ms of execution."""
        return self.chunks_done, self.chunks_total, self.execution_ms

    @property
    def spoken(self) -> bool:
        """Whether all of it is spoken: it will end by itself in a moment."""
        return 0 < self.chunks_total <= self.chunks_done

    def kept(self) -> None:
        """A take of it was stored: no suspect any more, and the moment to make room, if it was asked to."""
        if self.suspect:
            self.suspect = False
            if self.cleared is not None:
                self.cleared()
        if self.making_room:
            self._leave()

    def make_room(self, *, at_once: bool) -> None:
        """Go back to the queue, when the next take is stored or at once."""
        self.making_room = True
        if at_once:
            self._leave()

    def _leave(self) -> None:
        if self.task is not None and not self.spoken:
            self.task.cancel()

    def lose(self) -> None:
        """The job is not ours any more: stop working on it."""
        self.lost = True
        if self.task is not None:
            self.task.cancel()

"""One attempt at a job: what others look at while it is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.engines.order import Rank
from gateway.jobs.model.lanes import lane_of_chunks
from gateway.speech.speak.timing import Timing
from storage.records import JobRecord, Lane


class Lost(Exception):
    """The lease is somebody else's, or the job has ended: whatever comes of this attempt is thrown away."""


class Attempt:
    """The state of one attempt that others look at: the heartbeat, the claimer, `/status`.

    Args:
        missed: the cache key under which nothing was found when the job came, a moment ago.

    Attributes:
        chunks_done: those that earlier attempts have done are not done again. A beat tells it, or the takes that are
            stored; callers hear what was told, so that nobody hears more than the next attempt would begin with.
        rank: its lane, until it is lifted.
    """

    def __init__(self, job: JobRecord, missed: str | None = None) -> None:
        self.job = job
        self.missed = missed
        self.rank = Rank(job.lane)
        self.timing = Timing()
        self.backend = job.backend
        self.chunks_done = job.chunks_done
        self.chunks_total = job.chunks_total
        self.task: asyncio.Task[None] | None = None
        self.lost = False
        self._lifted = False
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
    def can_be_lifted(self) -> bool:
        """Whether others may wait for the same speech, and not with low priority."""
        return self.rank.lane is Lane.LOW and self.job.flight_key is not None and not self.completed

    def lift(self) -> None:
        """Somebody who is not of low priority waits for the same speech: it is as urgent as that."""
        self._lifted = True
        # Before it is planned nobody knows its chunks; the plan says whether it is short.
        self.rank.lift(lane_of_chunks(self.chunks_total) if self.chunks_total else Lane.LONG)

    def planned(self, total: int) -> None:
        """There are so many chunks."""
        self.chunks_total = total
        self.chunks_done = min(self.chunks_done, total)
        if self._lifted:
            self.lift()

    def counted(self, done: int) -> None:
        """So many chunks are done in this attempt, those that were found included."""
        self.chunks_done = max(self.chunks_done, min(done, self.chunks_total))

    def begin_anew(self) -> None:
        """Another backend speaks all of it."""
        self.chunks_done = self.chunks_total = 0

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

"""The state of one attempt at a job while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.clock import Clock
from gateway.engines.order import Rank
from gateway.jobs.model.lanes import lane_of_chunks
from gateway.jobs.model.tried import Tried
from gateway.speech.speak.timing import Timing
from storage.outcomes import Outcome
from storage.records import JobRecord, Lane


class Lost(Exception):
    """The lease belongs to another server, or the job has ended; the result of this attempt is discarded."""


class Attempt:
    """Holds the state of one attempt, read by the heartbeat, the claimer and `/status`.

    Args:
        missed: the cache key under which nothing was found when the job was submitted, a moment ago.

    Attributes:
        chunks_done: chunks of all attempts; finished chunks are not spoken again. Callers see the number in the row,
            written by beats and by stored takes, so that it never falls when another attempt starts.
        rank: its lane, until it is lifted.
    """

    def __init__(self, clock: Clock, job: JobRecord, missed: str | None = None) -> None:
        self.job = job
        self.missed = missed
        self.rank = Rank(job.lane)
        self.tried: Tried | None = None
        """Notes what became of the arms; None before they are known."""
        self.timing = Timing(clock)
        self.backend = job.backend
        self.chunks_done = job.chunks_done
        self.chunks_total = job.chunks_total
        self.task: asyncio.Task[None] | None = None
        self.lost = False
        self._lifted = False
        self.completed = False
        self.suspect = job.deaths > 0
        """True if a server died while it ran the job, and no take of it was stored since."""
        self.making_room = False
        self.cleared: Callable[[], None] | None = None
        """Called when the job stops being a suspect."""

    @property
    def execution_ms(self) -> int:
        """Execution time in ms over all attempts; see Timing for what counts."""
        return self.job.execution_ms + round((self.timing.worked_s() or 0.0) * 1000)

    def outcomes(self, *, failed: bool = False, bad_take: bool = False) -> tuple[Outcome, ...]:
        """Return the outcomes of the arms that were tried; the last of them ends with the attempt."""
        return () if self.tried is None else self.tried.ended(self.backend, failed=failed, bad_take=bad_take)

    @property
    def progress(self) -> tuple[int, int, int]:
        """The progress that a beat writes: chunks done, chunks in total, ms of execution."""
        return self.chunks_done, self.chunks_total, self.execution_ms

    @property
    def can_be_lifted(self) -> bool:
        """True if jobs of higher priority may follow this low-priority job's flight."""
        return self.rank.lane is Lane.LOW and self.job.flight_key is not None and not self.completed

    def lift(self) -> None:
        """Raise the job to the lane of a normal job, since a job of normal priority follows its flight."""
        self._lifted = True
        # The number of chunks is not known before the plan, which then sets the right lane.
        self.rank.lift(lane_of_chunks(self.chunks_total) if self.chunks_total else Lane.LONG)

    def planned(self, total: int) -> None:
        """Set the number of chunks of the plan."""
        self.chunks_total = total
        self.chunks_done = min(self.chunks_done, total)
        if self._lifted:
            self.lift()

    def counted(self, done: int) -> None:
        """Set the number of finished chunks of this attempt, stored takes it found included."""
        self.chunks_done = max(self.chunks_done, min(done, self.chunks_total))

    def restart(self) -> None:
        """Reset the progress, since another backend speaks all chunks."""
        self.chunks_done = self.chunks_total = 0

    @property
    def spoken(self) -> bool:
        """True if all chunks are spoken: the job ends in a moment."""
        return 0 < self.chunks_total <= self.chunks_done

    def kept(self) -> None:
        """Note that a take was stored: the job is no longer a suspect; if asked to make room, it leaves now."""
        if self.suspect:
            self.suspect = False
            if self.cleared is not None:
                self.cleared()
        if self.making_room:
            self._leave()

    def make_room(self, *, at_once: bool) -> None:
        """Go back to the queue: now, or when the next take is stored."""
        self.making_room = True
        if at_once:
            self._leave()

    def _leave(self) -> None:
        if self.task is not None and not self.spoken:
            self.task.cancel()

    def lose(self) -> None:
        """Stop working on the job, since this server no longer holds its lease."""
        self.lost = True
        if self.task is not None:
            self.task.cancel()

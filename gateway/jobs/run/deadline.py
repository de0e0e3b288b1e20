"""Enforces the time limit of a job, in execution time.

`executionTimeout` limits the total time since an engine first took a chunk of the job. Without it the limit is the
time since the last finished chunk, since a long text may take hours, but a hung engine must be stopped. Time in which
the job waits for a model does not count.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.clock import Clock
from gateway.speech.speak.timing import Timing

LOOK_AGAIN_S = 0.25
"""Seconds between checks of a job that waits for an engine or its model."""


class DeadlineOver(Exception):
    """The job's time is over."""


class Deadline:
    """The time limit of one attempt.

    Args:
        total_s: limit since work began; None: no such limit.
        stall_s: limit since the last finished chunk; used if `total_s` is None.
    """

    def __init__(self, clock: Clock, timing: Timing, total_s: float | None, stall_s: float) -> None:
        self._clock = clock
        self._timing = timing
        self._total_s = total_s
        self._stall_s = stall_s
        self._worked_at_last_take_s = 0.0

    def took(self) -> None:
        """Restart the stall limit, since a chunk was finished."""
        self._worked_at_last_take_s = self._timing.worked_s() or 0.0

    def left_s(self) -> float | None:
        """Return the seconds of work left; None while the job waits."""
        worked_s = self._timing.worked_s()
        if worked_s is None or self._timing.held_up:
            return None
        if self._total_s is not None:
            return self._total_s - worked_s
        return self._worked_at_last_take_s + self._stall_s - worked_s

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Run the block until it ends or the time is over.

        Raises:
            DeadlineOver: the time was over first; the block was cancelled.
        """
        worker = asyncio.current_task()
        assert worker is not None  # it runs in a task
        over = False

        async def enforce() -> None:
            nonlocal over
            while (left := self.left_s()) is None or left > 0:
                await self._clock.sleep(LOOK_AGAIN_S if left is None else min(left, 60.0))
            over = True
            worker.cancel()

        enforcer = asyncio.create_task(enforce(), name="deadline")
        try:
            yield
        except asyncio.CancelledError:
            if over and worker.uncancel() == 0:
                raise DeadlineOver from None
            raise
        finally:
            enforcer.cancel()

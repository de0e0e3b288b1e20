"""How long a job may run, in time that is really spent on it.

`executionTimeout` is the total time since an engine first had the job in its hands. Without one the limit is the
time since the last finished chunk: a long text may take hours, a hung engine may not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.speech.timing import Timing

LOOK_AGAIN_S = 0.25
"""Seconds between looks at a job whose first chunk waits for an engine."""


class DeadlineOver(Exception):
    """The job's time is over."""


class Deadline:
    """The limit of one attempt.

    Args:
        total_s: limit since work began; None: no such limit.
        stall_s: limit since the last finished chunk, where there is no `total_s`.
    """

    def __init__(self, timing: Timing, total_s: float | None, stall_s: float) -> None:
        self._timing = timing
        self._total_s = total_s
        self._stall_s = stall_s
        self._last_take: float | None = None

    def took(self) -> None:
        """A chunk was finished."""
        self._last_take = time.monotonic()

    def left_s(self) -> float | None:
        """Seconds until the end; None while work has not begun."""
        started = self._timing.started
        if started is None:
            return None
        if self._total_s is not None:
            return started + self._total_s - time.monotonic()
        return max(started, self._last_take or started) + self._stall_s - time.monotonic()

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Run the block until it ends or the time is over.

        Raises:
            DeadlineOver: the time was over first; the block was cancelled.
        """
        worker = asyncio.current_task()
        assert worker is not None  # it runs in a task
        over = False

        async def watch() -> None:
            nonlocal over
            while (left := self.left_s()) is None or left > 0:  # noqa: ASYNC110 - time is what it waits for
                await asyncio.sleep(LOOK_AGAIN_S if left is None else min(left, 60.0))
            over = True
            worker.cancel()

        watcher = asyncio.create_task(watch(), name="deadline")
        try:
            yield
        except asyncio.CancelledError:
            if over and worker.uncancel() == 0:
                raise DeadlineOver from None
            raise
        finally:
            watcher.cancel()

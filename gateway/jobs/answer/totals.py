"""Counts the ended jobs of each endpoint: from SQL in the background, plus this process's tally since then."""

from __future__ import annotations

import asyncio
import contextlib

from gateway.clock import Clock
from gateway.settings.logs import get_logger
from storage.db.tally import Ended, Tally
from storage.errors import StorageError
from storage.jobs.counts import SETTLED_AT_ONCE, JobCountStore

_AGAIN_S = 1.0
COUNT_EVERY_S = 60.0
"""Seconds between counts; until the next count, ends at other servers and deleted jobs are not considered."""
_TRIES = 3

log = get_logger("voxgate.jobs")


class Totals:
    """Completed, failed and retried jobs by endpoint.

    Args:
        tally: the jobs this process has ended since the last count.
    """

    def __init__(self, counts: JobCountStore, tally: Tally, clock: Clock) -> None:
        self._counts = counts
        self._tally = tally
        self._clock = clock
        self._counted: dict[str, Ended] = {}
        self._first = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Count now, then every `COUNT_EVERY_S`."""
        self._task = asyncio.create_task(self._loop(), name="totals")

    async def stop(self) -> None:
        """Stop counting."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def of(self, endpoint_id: str) -> Ended:
        """Return the totals of an endpoint; waits only for the first count after a start."""
        await self._first.wait()
        return self._counted.get(endpoint_id, Ended()).plus(self._tally.of(endpoint_id))

    async def count(self) -> None:
        """Count all jobs, and remove counters of endpoints without waiting or running jobs.

        A job that ends during the count may be both in the count and in the tally, so the count is repeated, at most
        `_TRIES` times; the next regular count corrects the rest.
        """
        for _ in range(_TRIES):
            before = self._tally.take()
            try:
                counted = await self._counts.ended()
            except BaseException:
                self._tally.add(before.items())
                raise
            self._counted = counted
            if not self._tally:
                break
        self._first.set()
        while await self._counts.remove_settled() == SETTLED_AT_ONCE:
            pass

    async def _loop(self) -> None:
        while True:
            try:
                await self.count()
            except StorageError as error:
                log.error("jobs_not_counted", code=error.code, reason=str(error))
            except Exception:
                log.exception("jobs_not_counted")
            await self._clock.sleep(COUNT_EVERY_S if self._first.is_set() else _AGAIN_S)

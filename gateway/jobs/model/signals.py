"""Signals between the tasks of one process that a job has changed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Signals:
    """Wakes the tasks that wait for a job. Changes at other servers come by PostgreSQL NOTIFY; on SQLite by polling."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)

    def notify(self, *job_ids: str) -> None:
        """Wake all tasks that wait for these jobs."""
        for job_id in job_ids:
            for future in self._waiting.pop(job_id, ()):
                if not future.done():
                    future.set_result(None)

    def notify_everyone(self) -> None:
        """Wake all waiting tasks, since the server is stopping."""
        self.notify(*list(self._waiting))

    def notify_all(self) -> None:
        """Wake all waiting tasks, since any job may have changed."""
        self.notify(*self._waiting)

    async def wait(self, job_id: str, seconds: float) -> None:
        """Wait until the job changes, at most `seconds`."""
        with self.expecting(job_id) as changed:
            await asyncio.wait((changed,), timeout=seconds)

    @contextmanager
    def expecting(self, *job_ids: str) -> Iterator[asyncio.Future[None]]:
        """A future that completes at the next notification for any of these jobs. Create it before reading the job."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for job_id in job_ids:
            self._waiting[job_id].add(future)
        try:
            yield future
        finally:
            for job_id in job_ids:
                waiting = self._waiting.get(job_id)
                if waiting is not None:
                    waiting.discard(future)
                    if not waiting:
                        self._waiting.pop(job_id, None)

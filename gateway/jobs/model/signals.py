"""Who waits for which job in this process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Signals:
    """Wakes those who wait for a job. Of jobs on another server PostgreSQL tells; elsewhere they are polled."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)

    def notify(self, *job_ids: str) -> None:
        """The jobs have changed."""
        for job_id in job_ids:
            for future in self._waiting.pop(job_id, ()):
                if not future.done():
                    future.set_result(None)

    def notify_everyone(self) -> None:
        """The server is stopping: nobody is to wait any longer."""
        self.notify(*list(self._waiting))

    def notify_all(self) -> None:
        """Any of the jobs may have changed."""
        self.notify(*self._waiting)

    async def wait(self, job_id: str, seconds: float) -> None:
        """Until the job changes or the time is over."""
        with self.expecting(job_id) as changed:
            await asyncio.wait((changed,), timeout=seconds)

    @contextmanager
    def expecting(self, *job_ids: str) -> Iterator[asyncio.Future[None]]:
        """Something that is done once one of the jobs changes: nothing is missed between a look and the wait for it."""
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

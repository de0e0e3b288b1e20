"""Who waits for which job in this process."""

from __future__ import annotations

import asyncio
from collections import defaultdict


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
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[job_id].add(future)
        try:
            await asyncio.wait((future,), timeout=seconds)
        finally:
            waiting = self._waiting.get(job_id)
            if waiting is not None:
                waiting.discard(future)
                if not waiting:
                    self._waiting.pop(job_id, None)

"""Signs of life of our jobs, and the end of those whose owner gives none.

Nobody compares clocks: an observer expires a lease when it has seen the same (owner, beat) for `lease_s` of its own
monotonic clock. Wall clocks may jump or differ between servers; a stopped process is only late. An observer that was
itself stopped has seen nothing meanwhile, and begins anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from gateway.clock import Clock
from gateway.jobs.run.claimer import Claimer
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.settings.logs import get_logger, lines_of
from storage.errors import StorageError
from storage.jobs.leases import JobLeases
from storage.records import Lease

MOST_DEATHS = 5
"""So many servers in a row that died while they ran a job end it; but for the first it ran in each of them alone."""

log = get_logger("voxgate.jobs")


class Leases:
    """The heartbeat and the observer of one server."""

    def __init__(
        self, settings: Settings, clock: Clock, leases: JobLeases, claimer: Claimer, metrics: Metrics, owner: str
    ) -> None:
        self._jobs = settings.jobs
        self._clock = clock
        self._leases = leases
        self._claimer = claimer
        self._metrics = metrics
        self._owner = owner
        self._seen: dict[str, tuple[Lease, float]] = {}
        self._looked = 0.0
        self._look = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to beat and to observe."""
        self._tasks = [
            asyncio.create_task(self._every(self.beat), name="lease beat"),
            asyncio.create_task(self._every(self.observe), name="lease observer"),
            asyncio.create_task(self._when_told(), name="lease check"),
        ]

    def look(self) -> None:
        """Another server has ended jobs, perhaps some that run here."""
        self._look.set()

    async def stop(self) -> None:
        """Stop both."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _every(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._clock.sleep(self._jobs.beat_s)
            await self._try(step)

    async def _when_told(self) -> None:
        while True:
            await self._look.wait()
            self._look.clear()
            await self._try(self.beat)

    async def _try(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except StorageError as error:
            log.error("lease_step_failed", code=error.code, reason=str(error))
        except Exception:
            log.exception("lease_step_crashed")

    async def beat(self) -> None:
        """Tell that our jobs are alive; stop working on those that are not ours any more."""
        # One that has ended here may still be storing takes: it has no lease any more, and needs none.
        running = {job_id: run for job_id, run in self._claimer.running.items() if not run.completed}
        if not running:
            return
        attempts = {job_id: run.job.attempt for job_id, run in running.items()}
        progress = {job_id: run.progress for job_id, run in running.items()}
        for job_id in await self._leases.beat(self._owner, attempts, progress):
            if not running[job_id].completed:  # it may have ended while we asked
                with lines_of(running[job_id].job.request_id, job_id=job_id):
                    log.info("lease_lost")
                running[job_id].lose()

    async def observe(self) -> None:
        """Look at every lease; end those that stood still too long."""
        leases = await self._leases.observe_leases()
        now = self._clock.monotonic()
        if now - self._looked > self._jobs.lease_s / 2:
            # We were not looking: stopped, suspended, or kept from the database, and so perhaps were the owners.
            self._seen = {}
        self._looked = now
        seen: dict[str, tuple[Lease, float]] = {}
        for lease in leases:
            before = self._seen.get(lease.job_id)
            since = before[1] if before is not None and before[0] == lease else now
            seen[lease.job_id] = (lease, since)
            if now - since < self._jobs.lease_s or self._is_running(lease):
                continue
            reason = f"the server that ran it was silent for {self._jobs.lease_s:g} s"
            state = await self._leases.expire(lease, MOST_DEATHS, reason)
            if state is not None:
                with lines_of(lease.request_id, job_id=lease.job_id):
                    log.warning("lease_expired", attempt=lease.attempt, state=state.value)
                self._metrics.leases_expired.inc()
                self._claimer.wake()
        self._seen = seen

    def _is_running(self, lease: Lease) -> bool:
        """Whether it is our own and we are at work on it: then it is the database that does not take our beats."""
        run = self._claimer.running.get(lease.job_id)
        return run is not None and lease.owner == self._owner and run.job.attempt == lease.attempt

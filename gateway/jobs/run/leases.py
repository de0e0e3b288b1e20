"""Leases: writes the heartbeats of this server's jobs, and expires the leases of servers that are silent.

Clocks of servers are not compared: an observer expires a lease when it has seen the same (owner, beat) for `lease_s`
of its own monotonic clock. Wall clocks may jump or differ between servers; a stopped process is only late. An
observer that was itself stopped starts its observations again.
"""

from __future__ import annotations

import asyncio

from gateway.jobs.model.server import Server
from gateway.jobs.run.claimer import Claimer
from gateway.periodic import Periodic
from gateway.settings.logs import get_logger, lines_of
from storage.jobs.leases import JobLeases
from storage.records import Lease

MOST_DEATHS = 5
"""Servers in a row that die while they run a job, after which it ends. From the second on the job ran alone."""

log = get_logger("voxgate.jobs")


class Leases:
    """Runs the heartbeat and the lease observer of one server."""

    def __init__(self, server: Server, leases: JobLeases, claimer: Claimer) -> None:
        self._jobs = server.settings.jobs
        self._clock = server.clock
        self._metrics = server.metrics
        self._owner = server.owner
        self._leases = leases
        self._claimer = claimer
        self._seen: dict[str, tuple[Lease, float]] = {}
        self._looked = 0.0
        self._look = asyncio.Event()
        self._periodic = Periodic(server.clock)

    def start(self) -> None:
        """Start to beat and to observe."""
        self._periodic.every(self._jobs.beat_s, "lease beat", self.beat)
        self._periodic.every(self._jobs.beat_s, "lease observer", self.observe)
        self._periodic.whenever(self._look, "lease check", self.beat)

    def look(self) -> None:
        """Beat now, since another server has ended jobs that may run here."""
        self._look.set()

    async def stop(self) -> None:
        """Stop to beat and to observe."""
        await self._periodic.stop()

    async def beat(self) -> None:
        """Write the beats of this server's jobs; stop working on jobs whose lease is lost."""
        # An attempt that has ended here may still be storing takes; it no longer has a lease, and needs none.
        running = {job_id: run for job_id, run in self._claimer.running.items() if not run.completed}
        if not running:
            return
        attempts = {job_id: run.job.attempt for job_id, run in running.items()}
        progress = {job_id: run.progress for job_id, run in running.items()}
        for job_id in await self._leases.beat(self._owner, attempts, progress):
            if not running[job_id].completed:  # it may have ended during the write
                with lines_of(running[job_id].job.request_id, job_id=job_id):
                    log.info("lease_lost")
                running[job_id].lose()

    async def observe(self) -> None:
        """Read every lease; expire those without a new beat for `lease_s`."""
        leases = await self._leases.observe_leases()
        now = self._clock.monotonic()
        if now - self._looked > self._jobs.lease_s / 2:
            # This observer was stopped, suspended or cut off from the database, and so perhaps were the owners.
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
        """Return whether this server runs the lease's job: then the database does not accept its beats."""
        run = self._claimer.running.get(lease.job_id)
        return run is not None and lease.owner == self._owner and run.job.attempt == lease.attempt

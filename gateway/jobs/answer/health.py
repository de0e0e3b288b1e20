"""Reports health, the load of an endpoint, and the reason why a job waits."""

from __future__ import annotations

from gateway.engines.registry import Engines, HostedBackend
from gateway.engines.state import HostState
from gateway.errors import ModelNotInitialized
from gateway.jobs.answer.totals import Totals
from gateway.jobs.model.attempt import Attempt
from gateway.jobs.model.views import BackendHealth, EndpointInfo, Health, JobCounts, WorkerCounts
from gateway.metrics import Metrics
from gateway.routing.endpoints import Endpoint
from gateway.routing.router import Router
from storage.files.free_space import FreeSpace
from storage.jobs.counts import JobCountStore
from storage.jobs.queue import PLACE_LIMIT, JobStore
from storage.records import JobRecord


class HealthReport:
    """Reports the state of the queue, the workers and the backends; changes nothing."""

    def __init__(
        self,
        store: JobStore,
        counts: JobCountStore,
        totals: Totals,
        engines: Engines,
        router: Router,
        space: FreeSpace,
    ) -> None:
        self._store = store
        self._space = space
        self._counts = counts
        self._totals = totals
        self._engines = engines
        self._router = router

    async def health(self, endpoint: Endpoint) -> Health:
        """Return the jobs of the endpoint, the workers of this server, and every backend."""
        unfinished = await self._counts.unfinished(endpoint.id)
        ended = await self._totals.of(endpoint.id)
        idle = initializing = running = unhealthy = 0
        for hosted in self._engines:
            state = hosted.host.state()
            idle += state.idle
            initializing += state.initializing
            running += state.running
            unhealthy += state.unhealthy
        return Health(
            jobs=JobCounts(
                completed=ended.completed,
                failed=ended.failed,
                inProgress=unfinished.running,
                inQueue=unfinished.waiting,
                retried=ended.retried,
            ),
            workers=WorkerCounts(
                idle=idle, initializing=initializing, ready=idle, running=running, throttled=0, unhealthy=unhealthy
            ),
            backends=self.backends(),
        )

    def backends(self) -> tuple[BackendHealth, ...]:
        """Return every backend: loaded, missing and broken."""
        found = [self._loaded(hosted) for hosted in self._engines]
        for info in self._engines.infos:
            if self._engines.get(info.name) is None and info.enabled:
                found.append(BackendHealth(name=info.name, state=info.state, reason=info.error, cure=info.cure))
        return tuple(found)

    def _loaded(self, hosted: HostedBackend) -> BackendHealth:
        name, host = hosted.name, hosted.host
        state = host.state()
        if state.unavailable is not None:
            return BackendHealth(
                name=name,
                state="unavailable",
                reason=state.unavailable.reason,
                cure=state.unavailable.cure,
                restarts=state.restarts,
                last_error=state.last_error or "",
            )
        loading = _all_loading(state)
        return BackendHealth(
            name=name,
            state="loading" if loading else "ready" if host.ready else "idle",
            reason=state.loading_text if loading else "",
            loading_percent=round(state.loading_share * 100) if loading else None,
            restarts=state.restarts,
            last_error=state.last_error or "",
        )

    async def endpoint_info(self, endpoint: Endpoint) -> EndpointInfo:
        """Return the counts of workers and jobs under RunPod's names, and the backend."""
        unfinished = await self._counts.unfinished(endpoint.id)
        active = 0
        for hosted in self._engines:
            state = hosted.host.state()
            active += state.idle + state.running
        try:
            backend = self._router.serving(endpoint)[0].name
        except ModelNotInitialized:
            backend = endpoint.backend or ""
        return EndpointInfo(
            id=endpoint.id,
            activeWorkers=active,
            jobsInQueue=unfinished.waiting,
            jobsInProgress=unfinished.running,
            backend=backend,
        )

    async def waiting(self, endpoint: Endpoint) -> int:
        """Return the number of waiting jobs of an endpoint."""
        return (await self._counts.unfinished(endpoint.id)).waiting

    async def reason(self, job: JobRecord, place: int | None = None) -> str:
        """Return the reason why a job waits: a problem of its backend, else its place among its tenant's jobs.

        Args:
            place: its place, if it is known.
        """
        hosted = self._engines.get(job.backend)
        if hosted is None:
            return f"backend {job.backend} is not loaded on this server; waiting for a server that has it"
        state = hosted.host.state()
        if not hosted.host.ready:
            if state.last_error:
                return f"worker crashing: {state.last_error}"
            return _loading(state)
        if shortage := self._space.shortage():
            return f"no space left: {shortage}"
        if job.error:
            return f"will be tried again: {job.error}"
        position = await self._store.position(job) if place is None else place
        if position == PLACE_LIMIT:
            return f"position {position} or later"
        return f"position {position}" if position else "starting"

    def held_up(self, run: Attempt) -> str:
        """Return the reason why a claimed job waits, if a worker loads the further model it needs; else ""."""
        hosted = self._engines.get(run.backend)
        if hosted is None or not (run.timing.held_up or run.timing.started is None):
            return ""
        state = hosted.host.state()
        loading = state.initializing > 0 if run.timing.held_up else _all_loading(state)
        return _loading(state) if loading else ""

    def check_space(self) -> None:
        """Check that the disks have room for further jobs.

        Raises:
            StorageFull: a disk has no room.
        """
        self._space.check()

    def most_workers(self) -> int:
        """Return the maximum number of engine workers of this server."""
        return sum(hosted.scale.max_workers for hosted in self._engines)

    def publish(self, metrics: Metrics) -> None:
        """Update the gauges of workers; called at every refresh."""
        for hosted in self._engines:
            name = hosted.name
            state = hosted.host.state()
            for label, value in (
                ("idle", state.idle),
                ("running", state.running),
                ("initializing", state.initializing),
                ("unhealthy", state.unhealthy),
            ):
                metrics.workers.labels(name, label).set(value)
            metrics.worker_restarts.labels(name).set(state.restarts)


def _all_loading(state: HostState) -> bool:
    """Return whether workers are loading a model, and none is idle or running."""
    return state.initializing > 0 and not state.idle + state.running


def _loading(state: HostState) -> str:
    return f"loading {state.loading_share * 100:.0f} % {state.loading_text}".rstrip()

"""The job service, called by every surface: submit, wait, status, cancel, retry, purge."""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial

import msgspec
from msgspec import UNSET

from gateway.access.principal import Principal
from gateway.errors import (
    Conflict,
    ModelNotInitialized,
    NotFound,
    ReadingFailed,
    TooManyRequests,
    Unavailable,
)
from gateway.jobs.answer.answering import Answering
from gateway.jobs.answer.hot_path import HotAudio, HotPath
from gateway.jobs.model.notices import Notices
from gateway.jobs.model.output import CacheEntry, words_of
from gateway.jobs.model.server import Server
from gateway.jobs.model.views import (
    EndpointInfo,
    Envelope,
    Health,
    JobView,
    Kind,
    read_policy,
)
from gateway.jobs.plan.assign import Choice
from gateway.jobs.plan.records import Records
from gateway.jobs.plan.routes import Routes
from gateway.jobs.run.claimer import Claimer
from gateway.jobs.run.shielded import ShieldedSteps
from gateway.jobs.webhooks.guarded_http import AllowList
from gateway.routing.endpoints import Endpoint
from gateway.routing.router import REFUSALS
from gateway.settings.logs import current_request_id, get_logger
from gateway.speech.encode.render import SpokenWord
from storage.errors import BlobMissing
from storage.files.audio import StoredAudio
from storage.jobs.queue import JobStore
from storage.records import Idempotency, JobRecord, JobState

RUNPOD_QUEUE = 50
RUNPOD_QUEUE_PER_WORKER = 500
"""RunPod refuses a job when more jobs wait than both limits; the second is per worker an endpoint may have."""

POLL_S = 0.5
"""Seconds between reads of a job that another server may be running."""


_encode = msgspec.json.encode
log = get_logger("voxgate.jobs")


class Jobs:
    """Serves the jobs of one server's callers; any server may run them."""

    def __init__(
        self,
        server: Server,
        store: JobStore,
        routes: Routes,
        answering: Answering,
        claimer: Claimer,
        notices: Notices,
    ) -> None:
        self._settings = server.settings
        self._clock = server.clock
        self._metrics = server.metrics
        self._owner = server.owner
        self._store = store
        self._endpoints = routes.endpoints
        self._assigner = routes.assigner
        self._answers = answering.answers
        self._recent = answering.recent
        self._write_behind = answering.write_behind
        self._health = answering.health
        self._job_views = answering.views
        self._claimer = claimer
        self._signals = notices.signals
        self._ended = notices.ended
        self._allow = AllowList(server.settings.webhook_allow)
        self._records = Records(server, store.retention)
        self._hot_path = HotPath(server, routes, answering.answers, answering.write_behind, finish=self._records.hit)
        self._shielded = ShieldedSteps()
        self._stopping = False

    def refuse_new(self) -> None:
        """Refuse new jobs, since the server is stopping, and answer waiting callers with the job's current state."""
        self._stopping = True
        self._signals.notify_everyone()

    @property
    def stopping(self) -> bool:
        """True if the server refuses new jobs."""
        return self._stopping

    async def check(self, principal: Principal, endpoint_id: str, raw_input: bytes) -> tuple[tuple[str, str], ...]:
        """Read an input as `submit` does, for surfaces on which bad input makes no job.

        Returns:
            Warnings about options that will not be applied as requested: (code, message).

        Raises:
            InvalidInput: states what was wrong and what is allowed.
            ModelNotInitialized: the backend that should speak is not loaded here.
            NotFound: no such endpoint.
        """
        choice = await self._choose(raw_input, self._endpoints.resolve(endpoint_id), principal)
        return choice.assignment.warnings

    async def submit(
        self,
        principal: Principal,
        endpoint_id: str,
        envelope: Envelope,
        kind: Kind,
        idempotency_key: str | None = None,
        base_url: str = "",
    ) -> JobView:
        """Accept a job, durably. Bad input or a missing backend makes a FAILED job, a cached utterance a COMPLETED one.

        Args:
            idempotency_key: a second request with the same key makes no job; it gets the first job's current state.

        Raises:
            BadRequest: the envelope's policy or another of its keys is out of range.
            NotFound: no such endpoint.
            TooManyRequests: the queue is full.
            Conflict: the idempotency key was used with another body.
            Unavailable: the server is stopping.
            StorageFull: the disk has no room for work, and the answer is not in the cache.
        """
        if self._stopping:
            raise Unavailable("the server is stopping; send the request again in a moment")
        endpoint = self._endpoints.resolve(endpoint_id)
        policy = read_policy(envelope)
        if envelope.webhook is not None:
            self._allow.check_url(envelope.webhook)
        idempotency = None
        if idempotency_key is not None and idempotency_key.strip():  # an empty header counts as absent
            idempotency = Idempotency(idempotency_key, hashlib.sha256(_encode(envelope)).hexdigest())
        raw = bytes(envelope.input) if envelope.input is not UNSET else b""
        try:
            choice = await self._choose(raw, endpoint, principal)
        except (*REFUSALS, ReadingFailed) as error:
            refused = self._records.refused(principal, endpoint, envelope, kind, error)
            return await self._answer(refused, idempotency, base_url)
        assignment = choice.assignment
        job = self._records.queued(principal, endpoint, envelope, policy, kind, choice, current_request_id())
        self._metrics.jobs_submitted.labels(self._endpoints.label(endpoint.id), kind).inc()
        if assignment.request.cache == "use":
            for _ in range(2):
                found = await self._find(assignment.key, kind == "runsync" and assignment.request.delivery != "url")
                if found is None:
                    break
                entry, encoded = found
                hit = self._records.answered(job, assignment, entry)
                try:
                    return await self._answer(hit, idempotency, base_url, encoded)
                except BlobMissing:
                    self._answers.forget([assignment.key])  # swept between the lookup and the commit
        self._health.check_space()
        await self._check_queue_limit(endpoint)
        accepted = await self._claimer.accept(self._records.waiting(job, assignment), idempotency)
        if accepted.id != job.id:
            return await self._job_views.view(accepted, base_url)
        return JobView(id=job.id, status=job.state.value)

    async def wait(
        self, principal: Principal, endpoint_id: str, job_id: str, seconds: float, base_url: str = ""
    ) -> JobView:
        """Wait until the job is final, at most `seconds`; return its state then."""
        deadline = self._clock.monotonic() + seconds
        while True:
            with self._signals.expecting(job_id) as changed:  # before the read: the job may end during it
                job, place = await self._find_placed(principal, endpoint_id, job_id)
                left = deadline - self._clock.monotonic()
                if job.state.final or left <= 0 or self._stopping:
                    break
                await asyncio.wait((changed,), timeout=min(left, POLL_S))
        return await self._job_views.view(job, base_url, place=place)

    async def status(
        self, principal: Principal, endpoint_id: str, job_id: str, ttl_ms: int | None = None, base_url: str = ""
    ) -> JobView:
        """Return the job's current state.

        Args:
            ttl_ms: keep a finished job's result no longer than this from now.

        Raises:
            NotFound: no such job on this endpoint, or it is another tenant's, or no longer kept.
        """
        job, place = await self._find_placed(principal, endpoint_id, job_id)
        if ttl_ms is not None and job.state.final:
            await self._write_behind.settle(job.id)
            await self._store.shorten_retention(job.id, self._clock.now_ms() + ttl_ms)
            self._recent.forget(job.id)
        return await self._job_views.view(job, base_url, place=place)

    async def cancel(self, principal: Principal, endpoint_id: str, job_id: str) -> JobView:
        """Cancel a job; a final state does not change."""
        job = await self.find(principal, endpoint_id, job_id)
        if not job.state.final:
            run = self._claimer.running.get(job_id)
            if run is not None:  # its last beat: it stores the execution time
                await self._store.leases.beat(self._owner, {job_id: run.job.attempt}, {job_id: run.progress})
            job = await self._store.ends.cancel(job_id) or job
            run = self._claimer.running.get(job_id)
            if run is not None and not run.completed:
                run.lose()
            self._ended(job_id)
            self._claimer.wake()
        return JobView(id=job.id, status=job.state.value)

    async def retry(self, principal: Principal, endpoint_id: str, job_id: str) -> JobView:
        """Queue a FAILED or TIMED_OUT job again; finished chunks are not spoken again.

        Raises:
            Conflict: the job is in another state, or was refused before it was queued.
        """
        job = await self.find(principal, endpoint_id, job_id)
        if job.state is JobState.FAILED and not job.backend:
            if job.error_code == ModelNotInitialized.code:
                raise Conflict(f"job {job_id} was never queued, since no backend could take it: send it again")
            if job.error_code == ReadingFailed.code:
                raise Conflict(f"job {job_id} was never queued, since its text could not be read: send it again")
            raise Conflict(f"job {job_id} was refused for its input, which a retry does not change: send a new request")
        self._health.check_space()
        queued = await self._store.ends.retry(job_id)
        if queued is None:
            now = await self._store.peek(job_id) or job  # another caller may have retried it first
            raise Conflict(f"job {job_id} is {now.state.value}: only FAILED and TIMED_OUT jobs can be retried")
        self._claimer.wake()
        return JobView(id=job_id, status=queued.state.value)

    async def purge(self, principal: Principal, endpoint_id: str) -> int:
        """Cancel the tenant's waiting jobs at this endpoint; return their number."""
        self._endpoints.resolve(endpoint_id)
        purged = await self._store.ends.purge(endpoint_id, principal.tenant)
        if purged:
            self._ended(*purged)
            self._claimer.wake()
        return len(purged)

    async def health(self, principal: Principal, endpoint_id: str) -> Health:
        """Return the jobs and workers of an endpoint, and the state of every backend."""
        return await self._health.health(self._endpoints.resolve(endpoint_id))

    async def endpoint_info(self, principal: Principal, endpoint_id: str) -> EndpointInfo:
        """Return the counts of an endpoint's workers and jobs, and its backend."""
        return await self._health.endpoint_info(self._endpoints.resolve(endpoint_id))

    # -- the hot path

    def hot(
        self, principal: Principal, endpoint_id: str, raw_input: bytes | msgspec.Raw, base_url: str = ""
    ) -> tuple[bytes, ...] | None:
        """Return the whole answer of a `/runsync` whose audio is in memory, in parts; None: use `submit` and `wait`.

        Raises nothing: errors are left to `submit`.
        """
        if self._stopping:
            return None
        return self._hot_path.answer(principal, endpoint_id, raw_input, base_url)

    @property
    def generation(self) -> int:
        """A number that changes with endpoints, voices and dictionaries; requests decoded before must be read again."""
        return self._assigner.generation

    def hot_audio(self, principal: Principal, endpoint_id: str, raw_input: bytes) -> HotAudio | None:
        """Return the audio alone, where `hot` has an answer; else None."""
        return None if self._stopping else self._hot_path.audio(principal, endpoint_id, raw_input)

    async def audio(self, blob_hash: str) -> StoredAudio:
        """Return finished audio to read.

        Raises:
            NotFound: there is none under this hash.
        """
        try:
            return await self._answers.audio.stored(blob_hash)
        except BlobMissing as error:
            raise NotFound(str(error)) from error

    async def words(self, job: JobRecord) -> tuple[SpokenWord, ...]:
        """Return the word times of a finished job; none if they were not requested."""
        return () if job.output is None else await words_of(job.output, self._answers.audio)

    # -- inside

    async def _choose(self, raw: bytes, endpoint: Endpoint, principal: Principal) -> Choice:
        return await self._assigner.accept(raw, endpoint, principal.tenant, principal.key_id)

    async def _find(self, key: str, read: bool) -> tuple[CacheEntry, bytes | None] | None:
        found = self._answers.hot(key)
        if found is not None:
            self._metrics.cache_answers.labels("hot").inc()
            return found
        stored = await self._answers.find(key, read=read)
        if stored is not None:
            self._metrics.cache_answers.labels("cold").inc()
        return stored

    async def _answer(
        self, job: JobRecord, idempotency: Idempotency | None, base_url: str, encoded: bytes | None = None
    ) -> JobView:
        """Keep a job that is final from the start, a cache hit or a refusal, and answer with it.

        Hits that nothing else hangs on are written together: a `/run` before its answer, a `/runsync` after it.
        """
        together = job.state is JobState.COMPLETED and idempotency is None and not job.webhook
        if together and job.kind == "runsync":
            self._write_behind.add(job)
            self._count(job)
            return await self._job_views.view(job, base_url, encoded)
        if together:
            await self._store.insert_hit(job, partial(self._note_kept, job))
        else:
            accepted = await self._shielded(self._keep(job, idempotency))
            if accepted.id != job.id:
                return await self._job_views.view(accepted, base_url)
        if job.kind == "run":
            return JobView(id=job.id, status=JobState.IN_QUEUE.value)
        return await self._job_views.view(job, base_url)

    async def _keep(self, job: JobRecord, idempotency: Idempotency | None) -> JobRecord:
        accepted = await self._store.insert(job, idempotency)
        if accepted.id == job.id:
            self._note_kept(job)
        return accepted

    def _note_kept(self, job: JobRecord) -> None:
        """Remember, tell and count a final job whose row is committed."""
        if job.state is JobState.COMPLETED:
            self._recent.add(job)
        else:
            endpoint = self._endpoints.label(job.endpoint_id)
            log.info("job_refused", job_id=job.id, endpoint=endpoint, code=job.error_code)
        self._ended(job.id)
        self._count(job)

    def _count(self, job: JobRecord) -> None:
        """Count a final job; the usage of a hit is written with its row."""
        if job.cache_key is not None:
            self._answers.note_used(job.cache_key)
        self._metrics.jobs_finished.labels(self._endpoints.label(job.endpoint_id), job.backend, job.state.value).inc()

    async def _check_queue_limit(self, endpoint: Endpoint) -> None:
        limit = self._settings.jobs.queue_limit
        if limit is None and self._settings.limits == "runpod":
            limit = max(RUNPOD_QUEUE, RUNPOD_QUEUE_PER_WORKER * self._health.most_workers())
        if limit is None:
            return
        waiting = await self._health.waiting(endpoint)
        if waiting >= limit:
            raise TooManyRequests(
                f"the queue of endpoint {endpoint.id!r} is full: {waiting} jobs wait, the limit is {limit} "
                "(VOXGATE_JOBS__QUEUE_LIMIT); try again later",
                retry_after_s=5.0,
            )

    async def find(self, principal: Principal, endpoint_id: str, job_id: str) -> JobRecord:
        """Return the job's row.

        Raises:
            NotFound: no such job on this endpoint, or it is another tenant's, or no longer kept.
        """
        return (await self._find_placed(principal, endpoint_id, job_id, placed=False))[0]

    async def _find_placed(
        self, principal: Principal, endpoint_id: str, job_id: str, *, placed: bool = True
    ) -> tuple[JobRecord, int]:
        """Return the job's row, and its place in the queue; 0 if it does not wait or `placed` is false."""
        place = 0
        job = self._recent.get(job_id) or self._write_behind.get(job_id)
        if job is None or not _is_of(job, principal, endpoint_id):
            # Another tenant's job costs one read, like an unknown id: the answer's time must not tell them apart.
            if placed:
                job, place = await self._store.peek_placed(job_id) or (None, 0)
            else:
                job = await self._store.peek(job_id)
            if job is not None and not _is_of(job, principal, endpoint_id):
                job = None
            if job is not None and job.state is JobState.COMPLETED:
                # `get` also reads the request, which says how the result is delivered; only finished jobs need it.
                job = await self._store.get(job_id) or job
                self._recent.add(job)
        if job is None or (job.retain_until_ms is not None and job.retain_until_ms < self._clock.now_ms()):
            raise NotFound(
                f"job {job_id[:80]!r} was not found on endpoint {endpoint_id[:64]!r}: its id is wrong, its result is "
                "no longer kept (VOXGATE_JOBS__RETENTION_RUN_S, VOXGATE_JOBS__RETENTION_RUNSYNC_S), or it was "
                "submitted with a key of another tenant"
            )
        return job, place


def _is_of(job: JobRecord, principal: Principal, endpoint_id: str) -> bool:
    return job.tenant == principal.tenant and job.endpoint_id == endpoint_id

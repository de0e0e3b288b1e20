"""Makes the records of new jobs: queued, answered from the cache, or refused."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from gateway.access.principal import Principal
from gateway.errors import InvalidInput, ModelNotInitialized, ReadingFailed
from gateway.jobs.model.ids import job_id
from gateway.jobs.model.output import CacheEntry, warned
from gateway.jobs.model.server import Server
from gateway.jobs.model.views import Envelope, Kind, Policy
from gateway.jobs.plan.assign import Assignment, Choice
from gateway.jobs.plan.lanes import lane_of
from gateway.routing.endpoints import Endpoint
from gateway.settings.logs import current_request_id
from storage.records import JobRecord, JobState, Retention

_encode = msgspec.json.encode


class Records:
    """Makes the records of one server's jobs."""

    def __init__(self, server: Server, retention: Retention) -> None:
        self._settings = server.settings.jobs
        self._clock = server.clock
        self._owner = server.owner
        self._retention = retention

    def queued(
        self,
        principal: Principal,
        endpoint: Endpoint,
        envelope: Envelope,
        policy: Policy,
        kind: Kind,
        choice: Choice,
        request_id: str | None,
    ) -> JobRecord:
        """Make the record of an accepted job; `waiting` adds the lane it needs in the queue."""
        now = self._clock.now_ms()
        assignment = choice.assignment
        request = assignment.request
        return JobRecord(
            id=job_id(kind, now),
            tenant=principal.tenant,
            endpoint_id=endpoint.id,
            key_id=principal.key_id,
            kind=kind,
            state=JobState.IN_QUEUE,
            low_priority=bool(policy.lowPriority),
            backend=assignment.arm.backend,
            chars=len(request.text),
            flight_key=assignment.key if request.cache == "use" else None,
            webhook=envelope.webhook,
            request_id=request_id,
            execution_timeout_ms=policy.executionTimeout,
            expires_at_ms=now + (policy.ttl or round(self._settings.ttl_s * 1000)),
            created_ms=now,
            available_ms=0,
            request=_encode(request).decode(),
            arms=choice.arms,
            unit=choice.unit,
        )

    def waiting(self, job: JobRecord, assignment: Assignment) -> JobRecord:
        """Return the job with its lane, which only a waiting job needs."""
        return msgspec.structs.replace(job, lane=lane_of(assignment, low=job.low_priority))

    def answered(self, job: JobRecord, assignment: Assignment, entry: CacheEntry) -> JobRecord:
        """Return the job as COMPLETED with the cache entry's output."""
        now = self._clock.now_ms()
        return msgspec.structs.replace(
            job,
            state=JobState.COMPLETED,
            output=warned(entry.output.decode(), assignment.warnings),
            blob_hash=entry.blob_hash,
            cache_key=entry.key,
            flight_key=None,
            started_ms=now,
            finished_ms=now,
            retain_until_ms=self._retention.end(job.kind, now),
            worker_id=self._owner,
        )

    def hit(self, principal: Principal, endpoint: Endpoint, choice: Choice, entry: CacheEntry) -> JobRecord:
        """Make the record of a `/runsync` answered from memory; a template for all hits of one input."""
        job = self.queued(principal, endpoint, Envelope(), Policy(), "runsync", choice, request_id=None)
        return self.answered(job, choice.assignment, entry)

    def refused(
        self,
        principal: Principal,
        endpoint: Endpoint,
        envelope: Envelope,
        kind: Kind,
        error: InvalidInput | ModelNotInitialized | ReadingFailed,
    ) -> JobRecord:
        """Make the FAILED record of a request that cannot be spoken here."""
        now = self._clock.now_ms()
        return JobRecord(
            id=job_id(kind, now),
            tenant=principal.tenant,
            endpoint_id=endpoint.id,
            key_id=principal.key_id,
            kind=kind,
            state=JobState.FAILED,
            backend="",
            chars=0,
            created_ms=now,
            available_ms=0,
            finished_ms=now,
            retain_until_ms=self._retention.end(kind, now),
            webhook=envelope.webhook,
            request_id=current_request_id(),
            request=bytes(envelope.input).decode("utf-8", "replace") if envelope.input is not UNSET else "",
            error=str(error),
            error_code=error.code,
            worker_id=self._owner,
        )

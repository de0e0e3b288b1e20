"""What a tenant has asked of an endpoint: its jobs, and what became of their webhooks."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.access.principal import Principal
from gateway.routing.endpoints import Endpoints
from storage.jobs.pages import JobBrief, JobPages
from storage.records import JobState
from storage.webhooks import DELIVERED, FAILED, DeliveryRow, DeliveryState, TryRow, WebhookStore

State = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]
WebhookState = Literal["PENDING", "DELIVERED", "FAILED"]

_OUTCOMES: dict[str, Literal["delivered", "failed", "given up"]] = {DELIVERED: "delivered", FAILED: "failed"}


class ListedJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job without its text and its speech. Times are UTC milliseconds; delayTime and executionTime durations."""

    id: str
    status: State
    created_ms: int
    characters: int
    started_ms: int | UnsetType = UNSET
    finished_ms: int | UnsetType = UNSET
    delayTime: int | UnsetType = UNSET
    executionTime: int | UnsetType = UNSET
    retries: int | UnsetType = UNSET
    backend: str | UnsetType = UNSET
    error_code: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    webhook: str | UnsetType = UNSET

    @classmethod
    def of(cls, job: JobBrief) -> ListedJob:
        """A row as it is told."""
        return cls(
            id=job.id,
            status=job.state.value,
            created_ms=job.created_ms,
            characters=job.chars,
            started_ms=UNSET if job.started_ms is None else job.started_ms,
            finished_ms=UNSET if job.finished_ms is None else job.finished_ms,
            delayTime=job.delay_ms if job.state.final else UNSET,
            executionTime=job.execution_ms if job.state.final else UNSET,
            retries=job.retries or UNSET,
            backend=job.backend or UNSET,
            error_code=job.error_code or UNSET,
            # Of one that waits it would be why it waits; `/status` says that.
            error=(job.state.final and job.state is not JobState.COMPLETED and job.error) or UNSET,
            webhook=job.webhook or UNSET,
        )


class ListedJobs(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of jobs, newest first; `next` is the `before` of the page after it, absent on the last one."""

    requests: tuple[ListedJob, ...]
    next: str | UnsetType = UNSET


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """A webhook: PENDING until its receiver took it (DELIVERED) or it was given up (FAILED): the last try failed, or
    the job was retried before.

    `due_ms` is when it is tried next. `http_status` is that of the last try, `error` what went wrong.
    """

    delivery: int
    job: str
    url: str
    status: WebhookState
    tries: int
    created_ms: int
    due_ms: int | UnsetType = UNSET
    http_status: int | UnsetType = UNSET
    error: str | UnsetType = UNSET

    @classmethod
    def of(cls, row: DeliveryRow) -> Delivery:
        """A row as it is told."""
        return cls(
            delivery=row.id,
            job=row.job_id,
            url=row.url,
            status=row.state.value,
            tries=row.tries,
            created_ms=row.created_ms,
            due_ms=row.due_ms if row.state is DeliveryState.PENDING else UNSET,
            http_status=UNSET if row.last_status is None else row.last_status,
            error=row.last_error or UNSET,
        )


class DeliveryTry(msgspec.Struct, frozen=True):
    """One try of a webhook, when it was over."""

    at_ms: int
    number: int
    outcome: Literal["delivered", "failed", "given up"]
    detail: str

    @classmethod
    def of(cls, row: TryRow) -> DeliveryTry:
        """An event as it is told."""
        return cls(row.at_ms, row.tries, _OUTCOMES.get(row.event, "given up"), row.detail or "")


class Deliveries(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of webhooks, newest first; `next` is the `before` of the page after it, absent on the last one."""

    webhooks: tuple[Delivery, ...]
    next: int | UnsetType = UNSET


class DeliveriesOfJob(msgspec.Struct, frozen=True):
    """The webhooks of one job, newest first, and every try, oldest first; a retried job has several."""

    webhooks: tuple[Delivery, ...]
    tries: tuple[DeliveryTry, ...]


class Lists:
    """Reads pages for one tenant."""

    def __init__(self, endpoints: Endpoints, pages: JobPages, webhooks: WebhookStore) -> None:
        self._endpoints = endpoints
        self._pages = pages
        self._webhooks = webhooks

    async def jobs(
        self, principal: Principal, endpoint_id: str, state: State | None, limit: int, before: str | None
    ) -> ListedJobs:
        """A page of the tenant's jobs at an endpoint.

        Raises:
            NotFound: no such endpoint.
        """
        self._endpoints.resolve(endpoint_id)
        states = () if state is None else (JobState(state),)
        rows = await self._pages.page(principal.tenant, endpoint_id, states, limit + 1, before)
        listed = tuple(ListedJob.of(row) for row in rows[:limit])
        return ListedJobs(listed, listed[-1].id if len(rows) > limit else UNSET)

    async def webhooks(
        self, principal: Principal, endpoint_id: str, state: WebhookState | None, limit: int, before: int | None
    ) -> Deliveries:
        """A page of the webhooks of the tenant's jobs at an endpoint.

        Raises:
            NotFound: no such endpoint.
        """
        self._endpoints.resolve(endpoint_id)
        states = () if state is None else (DeliveryState(state),)
        rows = await self._webhooks.page(
            tenant=principal.tenant, endpoint_id=endpoint_id, states=states, limit=limit + 1, before=before
        )
        listed = tuple(Delivery.of(row) for row in rows[:limit])
        return Deliveries(listed, listed[-1].delivery if len(rows) > limit else UNSET)

    async def webhooks_of(self, job_id: str) -> DeliveriesOfJob:
        """The webhooks of one job, which the caller has made sure is the tenant's."""
        rows = await self._webhooks.page(job_id=job_id)
        tries = await self._webhooks.tries(job_id)
        return DeliveriesOfJob(tuple(map(Delivery.of, rows)), tuple(map(DeliveryTry.of, tries)))

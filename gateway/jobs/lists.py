"""Lists a tenant's jobs at an endpoint and their webhook deliveries, in pages."""

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
    """A job without its text and audio. Times are UTC ms; delayTime and executionTime are durations in ms."""

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
        """Make the API's view of a row."""
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
            # While a job waits, its row's error is the reason for the wait, which `/status` gives.
            error=(job.state.final and job.state is not JobState.COMPLETED and job.error) or UNSET,
            webhook=job.webhook or UNSET,
        )


class ListedJobs(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of jobs, newest first; `next` is the `before` of the following page, absent on the last page."""

    requests: tuple[ListedJob, ...]
    next: str | UnsetType = UNSET


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """A webhook delivery: PENDING, then DELIVERED or FAILED.

    FAILED: the last allowed try failed, or the job was retried before delivery. `due_ms` is the time of the next try;
    `http_status` and `error` are those of the last try.
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
        """Make the API's view of a row."""
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
    """One finished try of a webhook; `at_ms` is when it ended."""

    at_ms: int
    number: int
    outcome: Literal["delivered", "failed", "given up"]
    detail: str

    @classmethod
    def of(cls, row: TryRow) -> DeliveryTry:
        """Make the API's view of an event."""
        return cls(row.at_ms, row.tries, _OUTCOMES.get(row.event, "given up"), row.detail or "")


class Deliveries(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page of webhooks, newest first; `next` is the `before` of the following page, absent on the last page."""

    webhooks: tuple[Delivery, ...]
    next: int | UnsetType = UNSET


class DeliveriesOfJob(msgspec.Struct, frozen=True):
    """The webhooks of one job, newest first, and every try, oldest first. A retried job has several webhooks."""

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
        """Read a page of the tenant's jobs at an endpoint.

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
        """Read a page of the webhooks of the tenant's jobs at an endpoint.

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
        """Read the webhooks of one job; the caller has checked that the job is the tenant's."""
        rows = await self._webhooks.page(job_id=job_id)
        tries = await self._webhooks.tries(job_id)
        return DeliveriesOfJob(tuple(map(Delivery.of, rows)), tuple(map(DeliveryTry.of, tries)))

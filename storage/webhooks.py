# ruff: noqa: S608 - the pieces put together here are constants of this module, never a caller's words
"""Stores webhook deliveries. They are written in the transaction that ends their job, so that none is lost or wrong."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, String, TextClause, bindparam, text

from gateway.clock import Clock, SystemClock
from storage.db.database import Database
from storage.delivery_slots import DeliverySlots
from storage.jobs.rows import AnyRow, log_events, maybe_job
from storage.jobs.sql import COLUMNS
from storage.records import JobRecord

DELIVERED, FAILED, GIVEN_UP = "webhook_delivered", "webhook_failed", "webhook_given_up"
"""Names of a job's events for tries of its webhooks; the events' `attempt` is the number of the try."""

_LAST = 2**62

_DUE = text(
    "SELECT id, tenant, receiver FROM webhook_deliveries WHERE state = 'PENDING' AND due_ms <= :now "
    "AND tenant NOT IN :tenants AND tenant || ' ' || receiver NOT IN :receivers ORDER BY due_ms, id LIMIT :limit"
).bindparams(bindparam("tenants", type_=String, expanding=True), bindparam("receivers", type_=String, expanding=True))
"""Due deliveries, without those of the given tenants and receivers (`TENANT RECEIVER`)."""
_TAKE = text(
    "UPDATE webhook_deliveries SET tries = tries + 1, due_ms = :until "
    "WHERE id IN :ids AND state = 'PENDING' AND due_ms <= :now RETURNING id, job_id, tenant, receiver, url, tries, "
    "(SELECT j.request_id FROM jobs j WHERE j.id = CAST(webhook_deliveries.job_id AS text))"
).bindparams(bindparam("ids", expanding=True))
"""Take these deliveries, without those that another server has taken meanwhile. The cast is for SQLite: in RETURNING it
does not know that the column is text, and would read all jobs."""
_ENDED_JOB = text(
    f"SELECT {', '.join(COLUMNS)} FROM jobs WHERE id = "
    "(SELECT job_id FROM webhook_deliveries WHERE id = :id AND state = 'PENDING')"
)
"""The job of a pending webhook. One statement, since a retry closes the webhook when it requeues the job."""
_TEXT_BYTES = {
    dialect: text(
        f"SELECT {length.format('request')} + COALESCE({length.format('output')}, 0) FROM jobs WHERE id = "
        "(SELECT job_id FROM webhook_deliveries WHERE id = :id)"
    )
    for dialect, length in (("sqlite", "LENGTH(CAST({} AS BLOB))"), ("postgresql", "OCTET_LENGTH({})"))
}
"""The bytes of a job's request and output, which its webhook's body repeats."""
_TRIED = "RETURNING job_id, tries"
_OWED = "WHERE id = :id AND state = 'PENDING'"
_DELIVERED = text(
    "UPDATE webhook_deliveries SET state = 'DELIVERED', last_status = :status, last_error = NULL "
    f"WHERE id = :id {_TRIED}"
)
_AGAIN = text(
    f"UPDATE webhook_deliveries SET due_ms = :due_ms, last_status = :status, last_error = :error {_OWED} {_TRIED}"
)
"""Only of a pending webhook: a failed try must not change one that was closed or delivered meanwhile."""
_GAVE_UP = text(
    f"UPDATE webhook_deliveries SET state = 'FAILED', last_status = :status, last_error = :error {_OWED} {_TRIED}"
)


class DeliveryState(StrEnum):
    """The state of a webhook."""

    PENDING = "PENDING"  # not tried yet, or to be tried again
    DELIVERED = "DELIVERED"  # accepted by the receiver
    FAILED = "FAILED"  # closed after the last try, or because the job was retried


_ROW = (
    "d.id, d.job_id, d.tenant, d.endpoint_id, d.url, d.state, d.tries, d.created_ms, d.due_ms, d.last_status, "
    "d.last_error"
)
_LATEST = "id < :before AND state = '{state}' ORDER BY id DESC LIMIT :limit"
_OF = {"tenant": "tenant = :tenant", "endpoint_id": "endpoint_id = :endpoint_id", "job_id": "job_id = :job_id"}


@functools.cache
def page_of(by: tuple[str, ...], states: tuple[DeliveryState, ...]) -> TextClause:
    """Build the statement for a page of webhooks in these states.

    Reads at most one page of rows for each state; for a tenant's endpoint, in the index of pages.

    Args:
        by: those of `tenant`, `endpoint_id` and `job_id` that are given.
    """
    chosen = "".join(f"{_OF[name]} AND " for name in by)
    walks = " UNION ALL ".join(
        f"SELECT * FROM (SELECT id FROM webhook_deliveries WHERE {chosen}{_LATEST.format(state=state.value)}) AS s{n}"
        for n, state in enumerate(states)
    )
    page = f"SELECT id FROM ({walks}) AS walks ORDER BY id DESC LIMIT :limit"
    rows = f"({page}) AS p CROSS JOIN webhook_deliveries d WHERE d.id = p.id"
    return text(f"SELECT {_ROW} FROM {rows} ORDER BY d.id DESC")


_TRIES = text(
    "SELECT at_ms, event, attempt, detail FROM job_events WHERE job_id = :job_id AND event IN "
    f"('{DELIVERED}', '{FAILED}', '{GIVEN_UP}') ORDER BY id"
)
"""The result of each try of a job's webhooks."""
_NEXT = text("SELECT MIN(due_ms) FROM webhook_deliveries WHERE state = 'PENDING'")


class DeliveryRecord(msgspec.Struct, frozen=True):
    """A webhook to send now; `tries` includes this try, `request_id` is of the request that submitted the job."""

    id: int
    job_id: str
    tenant: str
    receiver: str
    url: str
    tries: int
    request_id: str | None = None


class DeliveryRow(msgspec.Struct, frozen=True):
    """A webhook in the log.

    Args:
        due_ms: the time of the next try, if it is PENDING.
        last_status: HTTP status of the last answer, None if there was none.
    """

    id: int
    job_id: str
    tenant: str
    endpoint_id: str
    url: str
    state: DeliveryState
    tries: int
    created_ms: int
    due_ms: int
    last_status: int | None
    last_error: str | None


def _delivery(row: AnyRow) -> DeliveryRow:
    values = list(row)
    values[5] = DeliveryState(values[5])
    return DeliveryRow(*values)


class TryRow(msgspec.Struct, frozen=True):
    """One try of a webhook; `event` is its result."""

    at_ms: int
    event: str
    tries: int
    detail: str | None


class WebhookStore:
    """The outbox of webhooks, and its log."""

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()

    async def take_due(
        self, places: int = 16, per_receiver: int = 4, held: Sequence[DeliveryRecord] = (), lease_ms: int = 60_000
    ) -> list[DeliveryRecord]:
        """Take due webhooks under a lease of `lease_ms`; they are due again if this server dies meanwhile.

        Args:
            places: the most deliveries at the same time. A tenant never gets more than it leaves to the others.
            per_receiver: the most deliveries of a tenant to one host and port.
            held: the deliveries that are running now.
        """
        now = self._clock.now_ms()
        params = {"now": now, "until": now + lease_ms}
        next_ms = await self.next_due_ms()
        if next_ms is None or next_ms > now:
            return []  # the usual case

        slots = DeliverySlots(places, per_receiver, [(one.tenant, one.receiver) for one in held])
        taken: list[DeliveryRecord] = []
        while slots.free > 0:  # each round fills a place, or finds a tenant or receiver without a place left
            due = await self._due(params | slots.full() | {"limit": slots.free})
            fitting: list[int] = []
            for delivery_id, tenant, receiver in due:
                if slots.has_free(tenant, receiver):
                    slots.take(tenant, receiver)
                    fitting.append(delivery_id)
            if fitting:
                taken += await self._take(params | {"ids": fitting})
            if len(due) == len(fitting):
                break
        return taken

    async def _due(self, params: dict[str, Any]) -> Sequence[AnyRow]:
        """Read due deliveries on a reader, so that skipping those of a hanging receiver does not block the writer."""
        return await self._db.read(lambda conn: conn.execute(_DUE, params).all())

    async def _take(self, params: dict[str, Any]) -> list[DeliveryRecord]:
        return await self._db.writer.run(lambda conn: [DeliveryRecord(*row) for row in conn.execute(_TAKE, params)])

    async def ended_job(self, delivery_id: int) -> JobRecord | None:
        """Return the job of a delivery, with its request; None if the job was deleted or retried."""
        return await self._db.read(lambda conn: maybe_job(conn.execute(_ENDED_JOB, {"id": delivery_id}).first()))

    async def text_bytes(self, delivery_id: int) -> int:
        """Return the bytes of request and output of a delivery's job; 0 if the job was deleted."""
        statement = _TEXT_BYTES[self._db.dialect]
        return await self._db.read(lambda conn: int(conn.execute(statement, {"id": delivery_id}).scalar() or 0))

    async def delivered(self, delivery_id: int, status: int) -> None:
        """Note that the receiver accepted the webhook, with this HTTP status."""
        await self._tried(_DELIVERED, {"id": delivery_id, "status": status}, DELIVERED, f"answered {status}")

    async def failed(self, delivery_id: int, status: int | None, error: str, again_in_ms: int | None) -> None:
        """Note a failed try: the next one is due in `again_in_ms`; None closes the webhook."""
        params: dict[str, Any] = {"id": delivery_id, "status": status, "error": error}
        if again_in_ms is None:
            await self._tried(_GAVE_UP, params, GIVEN_UP, error)
        else:
            await self._tried(_AGAIN, params | {"due_ms": self._clock.now_ms() + again_in_ms}, FAILED, error)

    async def _tried(self, statement: TextClause, params: dict[str, Any], event: str, detail: str) -> None:
        now = self._clock.now_ms()

        def write(conn: Connection) -> None:
            tried = [(row[0], row[1]) for row in conn.execute(statement, params)]
            log_events(conn, event, tried, now, detail=detail)

        await self._db.writer.run(write)

    async def page(
        self,
        *,
        tenant: str | None = None,
        endpoint_id: str | None = None,
        job_id: str | None = None,
        states: tuple[DeliveryState, ...] = (),
        limit: int = 100,
        before: int | None = None,
    ) -> list[DeliveryRow]:
        """Return at most `limit` webhooks, newest first; `before` is the last id of the previous page."""
        given = {"tenant": tenant, "endpoint_id": endpoint_id, "job_id": job_id}
        params: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        statement = page_of(tuple(params), states or tuple(DeliveryState))
        params |= {"limit": limit, "before": _LAST if before is None else before}
        return await self._db.read(lambda conn: [_delivery(row) for row in conn.execute(statement, params)])

    async def tries(self, job_id: str) -> list[TryRow]:
        """Return each try of a job's webhooks, oldest first."""
        return await self._db.read(lambda conn: [TryRow(*row) for row in conn.execute(_TRIES, {"job_id": job_id})])

    async def next_due_ms(self) -> int | None:
        """Return the time when the next webhook is due; None if none is pending."""
        return await self._db.peek(lambda conn: conn.execute(_NEXT).scalar_one())

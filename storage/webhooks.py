"""Webhooks that are owed. A job's end writes them in its own transaction, so none is lost and none is invented."""

from __future__ import annotations

import msgspec
from sqlalchemy import text

from gateway.clock import Clock, SystemClock
from storage.database import Database

_TAKE = text(
    "UPDATE webhook_deliveries SET tries = tries + 1, due_ms = :until WHERE id IN (SELECT id FROM webhook_deliveries "
    "WHERE state = 'PENDING' AND due_ms <= :now ORDER BY due_ms LIMIT :limit) AND state = 'PENDING' AND due_ms <= :now "
    "RETURNING id, job_id, url, tries"
)
_DELIVERED = text(
    "UPDATE webhook_deliveries SET state = 'DELIVERED', last_status = :status, last_error = NULL WHERE id = :id"
)
_AGAIN = text(
    "UPDATE webhook_deliveries SET due_ms = :due_ms, last_status = :status, last_error = :error WHERE id = :id"
)
_GAVE_UP = text(
    "UPDATE webhook_deliveries SET state = 'FAILED', last_status = :status, last_error = :error WHERE id = :id"
)
_NEXT = text("SELECT MIN(due_ms) FROM webhook_deliveries WHERE state = 'PENDING'")


class DeliveryRecord(msgspec.Struct, frozen=True):
    """One webhook to send now; `tries` counts this one."""

    id: int
    job_id: str
    url: str
    tries: int


class WebhookStore:
    """The outbox of webhooks."""

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()

    async def take_due(self, limit: int = 16, lease_ms: int = 60_000) -> list[DeliveryRecord]:
        """Take up to `limit` webhooks that are due. Nobody else gets them for `lease_ms`; if we die meanwhile,
        they are due again then."""
        now = self._clock.now_ms()
        params = {"now": now, "until": now + lease_ms, "limit": limit}
        return await self._db.writer.run(lambda conn: [DeliveryRecord(*row) for row in conn.execute(_TAKE, params)])

    async def delivered(self, delivery_id: int, status: int) -> None:
        """It was taken, with this HTTP status."""
        await self._db.writer.insert(_DELIVERED, {"id": delivery_id, "status": status})

    async def failed(self, delivery_id: int, status: int | None, error: str, again_in_ms: int | None) -> None:
        """It was not taken: try again later, or never with `again_in_ms` None."""
        params = {"id": delivery_id, "status": status, "error": error}
        if again_in_ms is None:
            await self._db.writer.insert(_GAVE_UP, params)
        else:
            await self._db.writer.insert(_AGAIN, params | {"due_ms": self._clock.now_ms() + again_in_ms})

    async def next_due_ms(self) -> int | None:
        """When the next webhook is due; None when none is owed."""
        return await self._db.read(lambda conn: conn.execute(_NEXT).scalar_one())

"""Stores endpoints and the history of their route policies."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, text

from gateway.clock import Clock, SystemClock
from storage.db import marks
from storage.db.database import Database
from storage.db.notices import Topic

_ALL = text("SELECT id, tenant, created_ms, updated_ms, policy, defaults, limits FROM endpoints ORDER BY id")
_GET = text("SELECT id, tenant, created_ms, updated_ms, policy, defaults, limits FROM endpoints WHERE id = :id")
_PUT = text(
    "INSERT INTO endpoints (id, tenant, created_ms, updated_ms, policy, defaults, limits) "
    "VALUES (:id, :tenant, :created_ms, :updated_ms, :policy, :defaults, :limits) ON CONFLICT (id) DO UPDATE SET "
    "tenant = excluded.tenant, updated_ms = excluded.updated_ms, policy = excluded.policy, "
    "defaults = excluded.defaults, limits = excluded.limits"
)
_DELETE = text("DELETE FROM endpoints WHERE id = :id")
_CHANGE = text(
    "INSERT INTO route_changes (endpoint_id, at_ms, actor, reason, before, after) "
    "VALUES (:id, :now, :actor, :reason, :before, :after)"
)


class EndpointRecord(msgspec.Struct, frozen=True):
    """An endpoint; policy, defaults and limits are JSON objects. With `tenant` None every tenant may use it."""

    id: str
    tenant: str | None
    created_ms: int
    updated_ms: int
    policy: str = "{}"
    defaults: str = "{}"
    limits: str = "{}"


class EndpointStore:
    """Endpoints by id."""

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()

    async def mark(self) -> int:
        """Return a counter that changes whenever an endpoint is made, changed or removed, by any process."""
        return await marks.read(self._db, Topic.ENDPOINTS)

    async def all(self) -> list[EndpointRecord]:
        """Return every endpoint, by id."""
        return await self._db.read(lambda conn: [EndpointRecord(*row) for row in conn.execute(_ALL)])

    async def get(self, endpoint_id: str) -> EndpointRecord | None:
        """Return one endpoint, or None."""
        return await self._db.read(lambda conn: _get(conn, endpoint_id))

    async def put(self, endpoint: EndpointRecord, actor: str, reason: str = "") -> None:
        """Make or change an endpoint; a changed policy is added to its history.

        Args:
            actor: the author of the change (a key's id, `cli`).
        """
        now = self._clock.now_ms()

        def put(conn: Connection) -> None:
            before = _get(conn, endpoint.id)
            marks.move(conn, Topic.ENDPOINTS)
            conn.execute(_PUT, msgspec.structs.asdict(endpoint))
            if before is None or before.policy != endpoint.policy:
                _change(conn, endpoint.id, before, endpoint.policy, now, actor, reason)

        await self._db.writer.run(put)

    async def delete(self, endpoint_id: str, actor: str, reason: str = "") -> bool:
        """Remove an endpoint; its jobs stay."""
        now = self._clock.now_ms()

        def delete(conn: Connection) -> bool:
            before = _get(conn, endpoint_id)
            if before is not None:
                conn.execute(_DELETE, {"id": endpoint_id})
                marks.move(conn, Topic.ENDPOINTS)
                _change(conn, endpoint_id, before, "", now, actor, reason)
            return before is not None

        return await self._db.writer.run(delete)


def _get(conn: Connection, endpoint_id: str) -> EndpointRecord | None:
    row = conn.execute(_GET, {"id": endpoint_id}).first()
    return None if row is None else EndpointRecord(*row)


def _change(
    conn: Connection, endpoint_id: str, before: EndpointRecord | None, after: str, now: int, actor: str, reason: str
) -> None:
    old = "" if before is None else before.policy
    params = {"id": endpoint_id, "now": now, "actor": actor, "reason": reason, "before": old, "after": after}
    conn.execute(_CHANGE, params)

"""Stores pronunciation dictionaries: one document per tenant; each write raises its version."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
from sqlalchemy import Connection, bindparam, text

from storage.db import marks
from storage.db.database import Database
from storage.db.notices import Topic

# Read often, so without the documents.
_VERSIONS = text("SELECT tenant, version FROM pronunciations")
_GET = text("SELECT tenant, version, updated_ms, entries FROM pronunciations WHERE tenant IN :tenants").bindparams(
    bindparam("tenants", expanding=True)
)
# The version that was read is the fence: nothing is written if the dictionary has changed since.
_INSERT = text(
    "INSERT INTO pronunciations (tenant, version, updated_ms, entries) VALUES (:tenant, 1, :now, :entries) "
    "ON CONFLICT (tenant) DO NOTHING"
)
_UPDATE = text(
    "UPDATE pronunciations SET version = version + 1, updated_ms = :now, entries = :entries "
    "WHERE tenant = :tenant AND version = :seen"
)


class DictionaryRecord(msgspec.Struct, frozen=True):
    """A tenant's dictionary; `entries` is JSON."""

    tenant: str
    version: int
    updated_ms: int
    entries: str


class PronunciationStore:
    """Dictionaries by tenant."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def mark(self) -> int:
        """Return a counter that changes with every write of a dictionary, by any process."""
        return await marks.read(self._db, Topic.PRONUNCIATIONS)

    async def versions(self) -> dict[str, int]:
        """Return the version of every tenant's dictionary."""
        return await self._db.read(lambda conn: {row[0]: row[1] for row in conn.execute(_VERSIONS)})

    async def get_many(self, tenants: Collection[str]) -> list[DictionaryRecord]:
        """Return the dictionaries of these tenants; tenants without one are left out."""
        if not tenants:
            return []
        wanted = {"tenants": list(tenants)}
        return await self._db.read(lambda conn: [DictionaryRecord(*row) for row in conn.execute(_GET, wanted)])

    async def put(self, tenant: str, seen: int, entries: str, now: int) -> bool:
        """Write a tenant's dictionary.

        Args:
            seen: the version it was made from, 0 for none.

        Returns:
            False if the dictionary was written since that version; then nothing was done.
        """

        def put(conn: Connection) -> bool:
            params = {"tenant": tenant, "now": now, "entries": entries}
            done = conn.execute(_UPDATE, params | {"seen": seen}) if seen else conn.execute(_INSERT, params)
            if done.rowcount != 1:
                return False
            marks.move(conn, Topic.PRONUNCIATIONS)
            return True

        return await self._db.writer.run(put)

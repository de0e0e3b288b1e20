"""Stores API keys with their scopes and limits. Only digests are stored, never a secret."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, select, text, update

from storage.db import marks
from storage.db.database import Database
from storage.db.models import ApiKeyRow
from storage.db.notices import Topic

_table = ApiKeyRow.__table__

_COLUMNS = (
    _table.c.id,
    _table.c.digest,
    _table.c.tenant,
    _table.c.env,
    _table.c.scopes,
    _table.c.name,
    _table.c.created_ms,
    _table.c.expires_ms,
    _table.c.revoked_ms,
    _table.c.last_used_ms,
    _table.c.requests_per_minute,
    _table.c.characters_per_day,
    _table.c.rotated_from,
)

# Every key, oldest first: for authentication, which holds them in memory, and for `voxgate keys list`.
_ALL = select(*_COLUMNS).order_by(_table.c.created_ms, _table.c.id)
_ONE = select(*_COLUMNS).where(_table.c.id == bindparam("key_id"))
# Locked on PostgreSQL: of two rotations at once, the second must see the first.
_ONE_LOCKED = _ONE.with_for_update()
_ALONE = text("LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE")
_INSERT = insert(ApiKeyRow)
# Only keys not yet revoked, so that the time of the first revocation stays.
_REVOKE = (
    update(ApiKeyRow)
    .where(_table.c.id == bindparam("key_id"), _table.c.revoked_ms.is_(None))
    .values(revoked_ms=bindparam("now"))
)
# Shortens the life of a rotated key to the end of the overlap; never lengthens it.
_EXPIRE = (
    update(ApiKeyRow)
    .where(
        _table.c.id == bindparam("key_id"),
        _table.c.expires_ms.is_(None) | (_table.c.expires_ms > bindparam("at")),
    )
    .values(expires_ms=bindparam("at"))
)
_TOUCH = update(ApiKeyRow).where(_table.c.id == bindparam("key_id")).values(last_used_ms=bindparam("now"))


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One API key, its fields in the order of the columns.

    Args:
        id: the public part of the key; may be shown.
        digest: SHA-256 of the whole key, hexadecimal.
        scopes: its permissions, separated by spaces.
        expires_ms: the time from which it is refused; None: never.
        rotated_from: the id of the key it replaces.
    """

    id: str
    digest: str
    tenant: str
    env: str
    scopes: str
    name: str
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None
    last_used_ms: int | None = None
    requests_per_minute: int | None = None
    characters_per_day: int | None = None
    rotated_from: str | None = None


class KeyStore:
    """The table of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[KeyRecord]:
        """Return every key, including revoked and expired ones, oldest first."""
        return await self._database.read(lambda connection: [_record(row) for row in connection.execute(_ALL)])

    async def get(self, key_id: str) -> KeyRecord | None:
        """Return the key with this id, or None."""
        return await self._database.read(lambda connection: _one(connection, key_id))

    async def mark(self) -> int:
        """Return a counter that changes when a key is made, revoked, rotated or set to expire, by any process; not when
        a key is used."""
        return await marks.read(self._database, Topic.KEYS)

    async def data_version(self) -> int:
        """Return a number that changes with every commit in the database; cheaper than `mark`."""
        return await self._database.data_version()

    async def insert(self, key: KeyRecord) -> None:
        """Store a new key.

        Raises:
            IntegrityError: the id is taken.
        """

        def insert_one(connection: Connection) -> None:
            connection.execute(_INSERT, msgspec.structs.asdict(key))
            marks.move(connection, Topic.KEYS)

        await self._database.writer.run(insert_one)

    async def insert_first(self, key: KeyRecord) -> bool:
        """Store a key if there is none yet, else return False. Of two servers that start at once, one gets True."""

        def insert_if_none(connection: Connection) -> bool:
            if connection.dialect.name == "postgresql":
                connection.execute(_ALONE)  # otherwise two servers could both find none
            if connection.scalar(select(func.count()).select_from(ApiKeyRow)):
                return False
            connection.execute(_INSERT, msgspec.structs.asdict(key))
            marks.move(connection, Topic.KEYS)
            return True

        return await self._database.writer.run(insert_if_none)

    async def revoke(self, key_id: str, now: int) -> KeyRecord | None:
        """Revoke a key from now on; returns the key after that, None if there is none with this id."""

        def revoke(connection: Connection) -> KeyRecord | None:
            connection.execute(_REVOKE, {"key_id": key_id, "now": now})
            marks.move(connection, Topic.KEYS)
            return _one(connection, key_id)

        return await self._database.writer.run(revoke)

    async def rotate(self, key_id: str, successor: KeyRecord, until_ms: int) -> bool:
        """Store a key's successor and let the old key expire at `until_ms`; False if the old key is missing, revoked or
        expired."""

        def rotate(connection: Connection) -> bool:
            old = _one(connection, key_id, lock=True)
            expired = old is not None and old.expires_ms is not None and old.expires_ms <= successor.created_ms
            if old is None or old.revoked_ms is not None or expired:
                return False
            connection.execute(_EXPIRE, {"key_id": key_id, "at": until_ms})
            connection.execute(_INSERT, msgspec.structs.asdict(successor))
            marks.move(connection, Topic.KEYS)
            return True

        return await self._database.writer.run(rotate)

    async def touch(self, key_ids: Iterable[str], now: int) -> None:
        """Set the time of keys' last use."""
        rows = [{"key_id": key_id, "now": now} for key_id in sorted(key_ids)]
        if rows:
            await self._database.writer.run(lambda connection: _execute_many(connection, rows))


def _execute_many(connection: Connection, rows: list[dict[str, object]]) -> None:
    connection.execute(_TOUCH, rows)


def _one(connection: Connection, key_id: str, *, lock: bool = False) -> KeyRecord | None:
    row = connection.execute(_ONE_LOCKED if lock else _ONE, {"key_id": key_id}).one_or_none()
    return None if row is None else _record(row)


def _record(row: Iterable[object]) -> KeyRecord:
    return msgspec.convert(dict(zip(KeyRecord.__struct_fields__, row, strict=True)), KeyRecord)

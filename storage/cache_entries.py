"""Cache entries: finished audio by cache key."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, TextClause, bindparam, text

from gateway.clock import Clock, SystemClock
from storage import statements
from storage.database import Database
from storage.records import CacheEntryRecord

_GET = text(
    "SELECT key, scope, tenant, backend, revision, voice, format, blob_hash, size_bytes, output, created_ms, "
    "last_used_ms, hits, voice_hash FROM cache_entries WHERE key = :key"
)
_TOUCH = text("UPDATE cache_entries SET last_used_ms = :now, hits = hits + :hits WHERE key = :key")
_MARK = text("SELECT value FROM marks WHERE name = 'cache'")
_BLOBS = text("SELECT key, blob_hash FROM cache_entries WHERE key IN :keys").bindparams(
    bindparam("keys", expanding=True)
)
_LOOKED_UP_AT_ONCE = 500
_TOTAL = text("SELECT COALESCE(SUM(size_bytes), 0) FROM cache_entries")
_STATS = text(
    "SELECT backend, COUNT(*), SUM(size_bytes), SUM(hits), MIN(created_ms) FROM cache_entries "
    "GROUP BY backend ORDER BY backend"
)
_EVICT_AGE = text("DELETE FROM cache_entries WHERE last_used_ms < :before RETURNING blob_hash, key")


class BackendShare(msgspec.Struct, frozen=True):
    """What one backend's audio takes up in the cache."""

    backend: str
    entries: int
    size_bytes: int
    hits: int
    oldest_ms: int


class CacheStats(msgspec.Struct, frozen=True):
    """What the cache holds."""

    entries: int
    size_bytes: int
    hits: int
    backends: tuple[BackendShare, ...]


class CacheStore:
    """Cache entries in SQL; their audio is in the audio store."""

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()

    async def get(self, key: str) -> CacheEntryRecord | None:
        """The entry under a key; touch it when it was used."""

        def get(conn: Connection) -> CacheEntryRecord | None:
            row = conn.execute(_GET, {"key": key}).first()
            return None if row is None else CacheEntryRecord(*row)

        return await self._db.peek(get)

    async def mark(self) -> int:
        """Moves whenever an entry was deleted or got other audio, by whatever process."""
        return await self._db.peek(lambda conn: int(conn.execute(_MARK).scalar() or 0))

    async def gone(self, blobs: Mapping[str, str]) -> list[str]:
        """Those of these keys whose entry is not there any more, or has another blob than the one given."""
        keys = list(blobs)
        found: dict[str, str] = {}
        for start in range(0, len(keys), _LOOKED_UP_AT_ONCE):
            some = {"keys": keys[start : start + _LOOKED_UP_AT_ONCE]}
            rows = await self._db.read(lambda conn, some=some: conn.execute(_BLOBS, some).all())  # type: ignore[misc]
            found.update((row[0], row[1]) for row in rows)
        return [key for key, blob in blobs.items() if found.get(key) != blob]

    async def touch_many(self, hits: Mapping[str, int]) -> None:
        """These were answered from so many times more, just now."""
        now = self._clock.now_ms()
        rows = [{"key": key, "now": now, "hits": n} for key, n in hits.items()]
        await self._db.writer.insert_many(_TOUCH, rows)

    async def evict(self, max_bytes: int, max_age_ms: int | None = None) -> list[str]:
        """Forget what was not used for `max_age_ms`, then the least recently used above `max_bytes`; gives the keys."""
        now = self._clock.now_ms()

        def forget(conn: Connection) -> list[str]:
            rows: list[Any] = []
            if max_age_ms is not None:
                rows += conn.execute(_EVICT_AGE, {"before": now - max_age_ms}).all()
            if int(conn.execute(_TOTAL).scalar_one()) > max_bytes:
                rows += conn.execute(_prune(frozenset({"to_bytes"})), {"to_bytes": max_bytes}).all()
            return _released(conn, rows, now)

        return await self._db.writer.run(forget)

    async def prune(
        self,
        *,
        backend: str | None = None,
        tenant: str | None = None,
        unused_since_ms: int | None = None,
        to_bytes: int | None = None,
    ) -> list[str]:
        """Forget entries by wish: of a backend, of a tenant, not used since a time; all of them with none of these.
        Gives their keys.

        Args:
            to_bytes: so much of that backend's and tenant's audio stays, the most recently used.
        """
        now = self._clock.now_ms()
        wished = {"backend": backend, "tenant": tenant, "before": unused_since_ms, "to_bytes": to_bytes}
        params: dict[str, Any] = {name: value for name, value in wished.items() if value is not None}
        statement = _prune(frozenset(params))
        return await self._db.writer.run(
            lambda conn: _released(conn, conn.execute(statement, params).all(), now),
        )

    async def stats(self) -> CacheStats:
        """What the cache holds, by backend."""

        def read(conn: Connection) -> CacheStats:
            shares = tuple(BackendShare(r[0], int(r[1]), int(r[2]), int(r[3]), r[4]) for r in conn.execute(_STATS))
            return CacheStats(
                sum(share.entries for share in shares),
                sum(share.size_bytes for share in shares),
                sum(share.hits for share in shares),
                shares,
            )

        return await self._db.read(read)


@functools.cache
def _prune(by: frozenset[str]) -> TextClause:
    """The statement that forgets entries.

    Args:
        by: its parameters.
    """
    whose = [f"{name} = :{name}" for name in ("backend", "tenant") if name in by]
    chosen = whose + (["last_used_ms < :before"] if "before" in by else [])
    if "to_bytes" in by:
        chosen.append(
            "key IN (SELECT key FROM (SELECT key, SUM(size_bytes) OVER (ORDER BY last_used_ms DESC, key DESC) AS kept "  # noqa: S608 - constants of this module
            f"FROM cache_entries{_where(whose)}) AS latest WHERE kept > :to_bytes)"
        )
    return text(f"DELETE FROM cache_entries{_where(chosen)} RETURNING blob_hash, key")  # noqa: S608 - likewise


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _released(conn: Connection, rows: Sequence[Any], now: int) -> list[str]:
    if statements.release(conn, rows, now):
        statements.tell_cache_changed(conn)
    return [row[1] for row in rows]

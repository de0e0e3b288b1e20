"""Stores cache entries: finished audio by cache key."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, TextClause, bindparam, text

from gateway.clock import Clock, SystemClock
from storage.db import statements
from storage.db.batches import PAGE, Batches, until
from storage.db.database import Database
from storage.db.lists import with_list
from storage.db.old_rows import MANY, OldRows
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
_STATS = text(
    "SELECT backend, COUNT(*), SUM(size_bytes), SUM(hits), MIN(created_ms) FROM cache_entries "
    "GROUP BY backend ORDER BY backend"
)
_FORGET = with_list("DELETE FROM cache_entries WHERE key IN :keys", "keys")
_FORGET_UNUSED = with_list("DELETE FROM cache_entries WHERE key IN :keys AND last_used_ms <= :seen", "keys")


class BackendShare(msgspec.Struct, frozen=True):
    """One backend's part of the cache."""

    backend: str
    entries: int
    size_bytes: int
    hits: int
    oldest_ms: int


class CacheStats(msgspec.Struct, frozen=True):
    """Totals of the cache."""

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
        """Return the entry under a key. The caller touches it when it is used."""

        def get(conn: Connection) -> CacheEntryRecord | None:
            row = conn.execute(_GET, {"key": key}).first()
            return None if row is None else CacheEntryRecord(*row)

        return await self._db.peek(get)

    async def mark(self) -> int:
        """Return a counter that changes whenever an entry is deleted or gets other audio, by any process."""
        return await self._db.peek(lambda conn: int(conn.execute(_MARK).scalar() or 0))

    async def stale(self, blobs: Mapping[str, str]) -> list[str]:
        """Return those of these keys whose entry was deleted, or has another blob than the given one."""
        keys = list(blobs)
        found: dict[str, str] = {}
        for start in range(0, len(keys), _LOOKED_UP_AT_ONCE):
            some = {"keys": keys[start : start + _LOOKED_UP_AT_ONCE]}
            rows = await self._db.read(lambda conn, some=some: conn.execute(_BLOBS, some).all())  # type: ignore[misc]
            found.update((row[0], row[1]) for row in rows)
        return [key for key, blob in blobs.items() if found.get(key) != blob]

    async def touch_many(self, hits: Mapping[str, int]) -> None:
        """Note that entries were used now; `hits` is the number of uses by key."""
        now = self._clock.now_ms()
        rows = [{"key": key, "now": now, "hits": n} for key, n in hits.items()]
        await self._db.writer.insert_many(_TOUCH, rows)

    async def evict(self, max_bytes: int, max_age_ms: int | None = None) -> int:
        """Delete entries not used for `max_age_ms`, then the least recently used above `max_bytes`.

        Returns:
            The number of deleted entries; the sweeper removes their files.
        """
        aged = 0
        if max_age_ms is not None:
            aged = await self._prune_oldest({"before": self._clock.now_ms() - max_age_ms})
        return aged + await self._prune_oldest({}, max_bytes)

    async def prune(
        self,
        *,
        backend: str | None = None,
        tenant: str | None = None,
        unused_since_ms: int | None = None,
        to_bytes: int | None = None,
    ) -> int:
        """Delete entries of a backend, of a tenant, or not used since a time; without a condition, all. Returns their
        number.

        Args:
            to_bytes: keep this many bytes of that backend's and tenant's audio, the most recently used.
        """
        wished = {"backend": backend, "tenant": tenant, "before": unused_since_ms}
        params: dict[str, Any] = {name: value for name, value in wished.items() if value is not None}
        if to_bytes is None and unused_since_ms is None:
            return await self._prune_all(params)
        return await self._prune_oldest(params, to_bytes)

    async def _prune_all(self, params: dict[str, Any]) -> int:
        """Delete a backend's or tenant's entries, or all, also those that are used meanwhile."""
        pages = _by_key(frozenset(params))
        batches = Batches(self._db, self._clock)
        pruned = 0
        after = ""
        while True:
            page = params | {"after": after, "limit": PAGE}
            keys = await self._db.read(lambda conn, page=page: conn.execute(pages, page).scalars().all())  # type: ignore[misc]
            if not keys:
                return pruned
            gone = sum(await batches.run(keys, _delete))
            await self._notify(gone)
            pruned += gone
            after = keys[-1]

    async def _prune_oldest(self, params: dict[str, Any], to_bytes: int | None = None) -> int:
        """Delete entries, the least recently used first, but none that is used meanwhile.

        Args:
            params: the parameters of `_oldest`.
        """
        pages, total = _oldest(frozenset(params)), _total(frozenset(params) - {"before"})
        batches = Batches(self._db, self._clock)
        pruned = 0 if to_bytes is None else await self._prune_many(params, to_bytes, batches)

        async def excess() -> int:
            if to_bytes is None:
                return 2**63
            return await self._db.read(lambda conn: int(conn.execute(total, params).scalar_one())) - to_bytes

        while True:
            page = params | {"limit": PAGE}
            over = await excess() > 0
            rows = await self._db.read(lambda conn, page=page: conn.execute(pages, page).all()) if over else []  # type: ignore[misc]
            # Summed after the read, so that entries which another server deletes meanwhile are counted in it.
            keys = list(until(rows, await excess())) if rows else []
            if not keys:
                return pruned
            seen = rows[len(keys) - 1][2]
            gone = sum(await batches.run(keys, functools.partial(_delete, seen=seen)))
            await self._notify(gone)
            pruned += gone
            if not gone:  # another server does the same, or all were used meanwhile
                return pruned

    async def _prune_many(self, params: dict[str, Any], to_bytes: int, batches: Batches) -> int:
        """As `_prune_oldest`, for a large part of the table; leaves the last few entries to it."""
        owners = frozenset(params) - {"before"}
        every = await self._db.read(lambda conn: int(conn.execute(_total(frozenset()), {}).scalar_one()))
        held = await self._db.read(lambda conn: int(conn.execute(_total(owners), params).scalar_one()))
        if held - to_bytes <= every * MANY:
            return 0
        old = OldRows(self._db, "cache_entries", "TRUE", " AND ".join(["TRUE", *_owners(owners)]), params)
        mark = min(await old.since(to_bytes), params.get("before", 2**62))
        pruned = 0
        async for keys, seen in old.pages(mark):
            gone = sum(await batches.run(keys, functools.partial(_delete, seen=seen)))
            await self._notify(gone)
            pruned += gone
        return pruned

    async def _notify(self, gone: int) -> None:
        """Notify every server at once; without this they see it within a second."""
        if gone:
            await self._db.writer.run(statements.notify_cache_changed)

    async def stats(self) -> CacheStats:
        """Return totals of the cache, by backend."""

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
def _by_key(by: frozenset[str]) -> TextClause:
    """Build the statement for a page of keys, in their order.

    Args:
        by: the columns that have a condition.
    """
    where = _where([*_owners(by), "key > :after"])
    return text(f"SELECT key FROM cache_entries{where} ORDER BY key LIMIT :limit")  # noqa: S608 - constants


@functools.cache
def _oldest(by: frozenset[str]) -> TextClause:
    """Build the statement for a page of keys, sizes and times, the least recently used first."""
    where = _where([*_owners(by), *(["last_used_ms < :before"] if "before" in by else [])])
    return text(
        f"SELECT key, size_bytes, last_used_ms FROM cache_entries{where} ORDER BY last_used_ms LIMIT :limit"  # noqa: S608
    )


@functools.cache
def _total(by: frozenset[str]) -> TextClause:
    """Build the statement for the bytes of all entries, or of a backend's or tenant's."""
    return text(f"SELECT COALESCE(SUM(size_bytes), 0) FROM cache_entries{_where(_owners(by))}")  # noqa: S608 - constants


def _owners(by: frozenset[str]) -> list[str]:
    return [f"{name} = :{name}" for name in ("backend", "tenant") if name in by]


def _where(conditions: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(conditions)}" if conditions else ""


def _delete(conn: Connection, keys: Sequence[str], seen: int | None = None) -> int:
    """Delete entries; with `seen`, only those not used after that time."""
    if seen is None:
        gone = conn.execute(_FORGET, {"keys": keys}).rowcount
    else:
        gone = conn.execute(_FORGET_UNUSED, {"keys": keys, "seen": seen}).rowcount
    if gone:
        statements.move_cache_mark(conn)
    return gone

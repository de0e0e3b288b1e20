"""Statements shared by several stores; each works on SQLite and PostgreSQL unchanged."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, text

from storage.db import marks
from storage.db.notices import Topic
from storage.records import CacheEntryRecord

PUT_BLOB = text(
    "INSERT INTO blobs (hash, suffix, size_bytes, touched_ms, loose_ms) "
    "VALUES (:hash, :suffix, :size_bytes, 0, :now) ON CONFLICT (hash) DO UPDATE SET loose_ms = excluded.loose_ms"
)
"""Add a blob, or restart its grace period."""

PUT_WORD_TIMES = text(
    "INSERT INTO word_times (audio_hash, blob_hash) VALUES (:audio_hash, :blob_hash) ON CONFLICT DO NOTHING"
)
"""Keep a blob with word times as long as the blob of their audio."""

USAGE = (
    "tenant", "key_id", "endpoint_id", "backend", "day",
    "characters", "audio_ms", "jobs", "cache_hits", "cost_micro_usd",
)  # fmt: skip
_ADD_USAGE = (
    f"INSERT INTO usage ({', '.join(USAGE)}) VALUES ({{values}}) "  # noqa: S608 - names of this module
    f"ON CONFLICT ({', '.join(USAGE[:5])}) DO UPDATE SET "
    f"{', '.join(f'{name} = usage.{name} + excluded.{name}' for name in USAGE[5:])}"
)
ADD_USAGE = text(_ADD_USAGE.format(values=", ".join(f":{name}" for name in USAGE)))
"""Add to the usage of a key on a day."""
_ADD_USAGE_SQLITE = _ADD_USAGE.format(values=", ".join("?" for _ in USAGE))
"""The same with the driver's own placeholders: faster, and a durable hit waits for it."""

ADD_EVENT = text(
    "INSERT INTO job_events (job_id, at_ms, event, attempt, owner, detail) "
    "VALUES (:job_id, :now, :event, :attempt, :owner, :detail)"
)
"""Write one event of a job."""

ADD_WEBHOOK = text(
    "INSERT INTO webhook_deliveries (job_id, tenant, endpoint_id, receiver, url, state, tries, due_ms, created_ms) "
    "VALUES (:job_id, :tenant, (SELECT j.endpoint_id FROM jobs j WHERE j.id = :job_id), :receiver, :url, 'PENDING', 0, "
    ":now, :now)"
)
"""Add a pending webhook, in the transaction that ends its job."""
CLOSE_WEBHOOKS = text(
    "UPDATE webhook_deliveries SET state = 'FAILED', last_error = :error WHERE job_id = :job_id AND state = 'PENDING'"
)
"""Close the pending webhooks of a job."""

_INSERT_CACHE_ENTRY = (
    "INSERT INTO cache_entries (key, scope, tenant, backend, revision, voice, format, blob_hash, size_bytes, output, "
    "created_ms, last_used_ms, hits, voice_hash) VALUES (:key, :scope, :tenant, :backend, :revision, :voice, :format, "
    ":blob_hash, :size_bytes, :output, :created_ms, :last_used_ms, :hits, :voice_hash) ON CONFLICT (key) DO "
)
_ADD_CACHE_ENTRY = text(f"{_INSERT_CACHE_ENTRY} NOTHING")
_REPLACE_CACHE_ENTRY = text(
    f"{_INSERT_CACHE_ENTRY} UPDATE SET blob_hash = excluded.blob_hash, size_bytes = excluded.size_bytes, "
    "output = excluded.output, created_ms = excluded.created_ms, last_used_ms = excluded.last_used_ms"
)
_CACHED_BLOB = text("SELECT blob_hash FROM cache_entries WHERE key = :key")

HAS_BLOB = {
    "sqlite": text("SELECT 1 FROM blobs WHERE hash = :hash"),
    "postgresql": text("SELECT 1 FROM blobs WHERE hash = :hash FOR KEY SHARE"),
}
"""Check that a blob has a row, and keep it until the transaction ends."""


def add_usage(conn: Connection, rows: Iterable[tuple[str | int, ...]]) -> None:
    """Add to the usage of keys on days; each row has the columns of `USAGE`, in their order."""
    # The same order on every server avoids deadlocks: PostgreSQL locks row by row.
    ordered = sorted(rows)
    if ordered and conn.dialect.name == "sqlite":
        conn.exec_driver_sql(_ADD_USAGE_SQLITE, ordered)
    elif ordered:
        conn.execute(ADD_USAGE, [dict(zip(USAGE, row, strict=True)) for row in ordered])


def put_cache_entry(conn: Connection, entry: CacheEntryRecord) -> None:
    """Add a cache entry, or replace the one under its key (as with `refresh`)."""
    params = msgspec.structs.asdict(entry)
    if conn.execute(_ADD_CACHE_ENTRY, params).rowcount:
        return
    before = conn.execute(_CACHED_BLOB, {"key": entry.key}).all()
    conn.execute(_REPLACE_CACHE_ENTRY, params)
    if any(row[0] != entry.blob_hash for row in before):
        notify_cache_changed(conn)


def move_cache_mark(conn: Connection) -> None:
    """Note that cache entries were deleted: servers that hold them in memory see it at their next poll, within 1 s."""
    marks.move_silently(conn, Topic.CACHE)


def notify_cache_changed(conn: Connection) -> None:
    """Note that cache entries were deleted or replaced: servers that hold them in memory are notified at the commit."""
    marks.move(conn, Topic.CACHE)

"""Makes a database with a million rows of each kind: jobs (100,000 waiting), events, cache entries, takes, blobs.

The database itself makes the rows, without triggers, and the indexes after them; this takes about twenty seconds. The
files of the blobs do not exist.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.pool import NullPool
from support.postgres import the_server
from support.storage import START_MS, new_database_url

from storage.db import migrate
from storage.db.database import parse_url

ROWS = 1_000_000
"""Rows of each kind."""
WAITING = 100_000
RUNNING = 16
TENANTS = (*("flood",) * 6, "guest-1", "guest-2", "guest-3", "guest-4")
"""The tenants of ten successive jobs."""
ENDPOINTS = ("default", "narrator", "news")
BACKENDS = ("hibari", "chatterbox", "google")
STEP_MS = 500
"""Time between two jobs; the last one was submitted at START_MS."""
KEEP_MS = 7 * 86_400_000
"""Time that a finished job is kept, from its submission."""

_FAST_SQLITE = (
    "PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA foreign_keys = OFF",
    "PRAGMA cache_size = -400000", "PRAGMA temp_store = MEMORY",
)  # fmt: skip
_FAST_POSTGRESQL = (
    "SET session_replication_role = replica", "SET maintenance_work_mem = '256MB'", "SET synchronous_commit = off",
)  # fmt: skip
_ONLY = {"webhook_deliveries": "i < :rows - :waiting AND i % 10 = 3"}
"""Conditions for tables that do not have all rows."""
_INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = :table",
    "postgresql": (
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = :table "
        "AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = indexname)"
    ),
}


def fill(url: str, rows: int = ROWS, waiting: int = WAITING) -> None:
    """Put `rows` rows of each kind into the empty database of this URL; its schema may have any revision.

    Jobs, the oldest first, are COMPLETED, except every 50th, which is FAILED (retried once); the last `waiting` are
    queued, except a few that run. Every 20th waiting job follows its neighbour. Every job has an event; every entry and
    every take has a blob; every COMPLETED job has the blob of its entry. A tenth of the finished jobs have a webhook.
    Times of last use are in no order.
    """
    parsed = parse_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    engine = create_engine(parsed, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    numbers = (
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :rows)"
        if sqlite
        else "WITH n (i) AS (SELECT generate_series(CAST(0 AS bigint), :rows - 1))"
    )
    given = {"rows": rows, "waiting": waiting, "start": START_MS}
    with engine.connect() as connection, _without_indexes(connection):
        for table, values in _values(sqlite).items():
            known = {column["name"] for column in inspect(connection).get_columns(table)}
            columns = {name: value for name, value in values.items() if name in known}
            made = f"{numbers} SELECT {', '.join(columns.values())} FROM n WHERE {_ONLY.get(table, 'i >= 0')}"
            if not sqlite:  # rows of a table truncated in the same transaction are not written to the log
                connection.exec_driver_sql(f"BEGIN; TRUNCATE {table} CASCADE")
            connection.execute(text(f"INSERT INTO {table} ({', '.join(columns)}) {made}"), given)
            if not sqlite:
                connection.exec_driver_sql("COMMIT")
        if inspect(connection).has_table("job_counts"):
            connection.execute(
                text(
                    "INSERT INTO job_counts (endpoint_id, state, shard, n) SELECT endpoint_id, state, 0, COUNT(*) "
                    "FROM jobs WHERE state IN ('IN_QUEUE', 'IN_PROGRESS') GROUP BY endpoint_id, state"
                )
            )
    engine.dispose()


def _values(sqlite: bool) -> dict[str, dict[str, str]]:
    """Return the columns of each table, with the expression that makes each from a row's number `i`."""

    def of(names: tuple[str, ...], number: str) -> str:
        """Return SQL for one of the names, by a number; the last one if the number is larger."""
        cases = " ".join(f"WHEN {n} THEN '{name}'" for n, name in enumerate(names[:-1]))
        return f"CASE {number} {cases} ELSE '{names[-1]}' END"

    def hex_(number: str, digits: int) -> str:
        if sqlite:
            return f"printf('%0{digits}x', {number})"
        return f"lpad(to_hex(CAST({number} AS bigint)), {digits}, '0')"

    def digest(kind: int, number: str = "i") -> str:
        """Return SQL for 64 hex digits; in the order of the numbers, which is faster and changes nothing else."""
        return f"'{kind:02x}' || {hex_(number, 8)} || '{'5eed' * 13}00'"

    at = f"(:start - (:rows - 1 - i) * {STEP_MS})"
    stamp = f"{hex_(f'({at} / 65536)', 8)} || '-' || {hex_(f'({at} % 65536)', 4)} || '-7' || {hex_('(i % 4096)', 3)}"
    job = f"CASE WHEN i % 5 < 2 THEN 'sync-' ELSE '' END || {stamp} || '-8000-' || {hex_('i', 12)} || '-v1'"
    waits, runs = "i >= :rows - :waiting", f"i >= :rows - {RUNNING}"
    fails = "i % 50 = 7"
    state = (
        f"CASE WHEN {runs} THEN 'IN_PROGRESS' WHEN {waits} THEN 'IN_QUEUE' WHEN {fails} THEN 'FAILED' "
        "ELSE 'COMPLETED' END"
    )
    done = f"NOT ({waits}) AND NOT ({fails})"
    scattered = "((i * 7919) % :rows)"
    used = f"(:start - {scattered} * 600)"
    return {
        "blobs": {
            "hash": digest(1), "suffix": "CASE WHEN i % 2 = 0 THEN '.mp3' ELSE '.flac' END",
            "size_bytes": "20000 + i % 977", "touched_ms": used, "loose_ms": "NULL",
        },
        "jobs": {
            "id": job, "tenant": of(TENANTS, "i % 10"),
            "endpoint_id": of(ENDPOINTS, "i / 10 % 8"), "key_id": "'k' || (i % 10)",
            "kind": "CASE WHEN i % 5 < 2 THEN 'runsync' ELSE 'run' END", "state": state,
            "backend": of(BACKENDS, "i / 100 % 3"), "chars": "40 + i % 400", "created_ms": at, "available_ms": at,
            "low_priority": "CASE WHEN i % 7 = 0 THEN TRUE ELSE FALSE END",
            "lane": "CASE WHEN i % 7 = 0 THEN 2 ELSE i % 2 END",
            "flight_key": f"CASE WHEN {waits} AND i % 20 < 2 THEN {digest(4, 'i / 20')} END",
            "cache_key": f"CASE WHEN {done} THEN {digest(3)} END",
            "expires_at_ms": f"{at} + 86400000", "started_ms": f"CASE WHEN NOT ({waits}) OR {runs} THEN {at} + 5 END",
            "finished_ms": f"CASE WHEN NOT ({waits}) THEN {at} + 900 END",
            "retain_until_ms": f"CASE WHEN NOT ({waits}) THEN {at} + {KEEP_MS} END",
            "delay_ms": "5", "execution_ms": f"CASE WHEN {waits} THEN 0 ELSE 900 END",
            "attempt": "1", "failures": "0", "retries": f"CASE WHEN NOT ({waits}) AND {fails} THEN 1 ELSE 0 END",
            "owner": f"CASE WHEN {runs} THEN 'w-1' END", "beat": "0", "chunks_done": "1", "chunks_total": "1",
            "blob_hash": f"CASE WHEN {done} THEN {digest(1)} END", "cancel_requested": "FALSE", "stream_cursor": "0",
            "error": f"CASE WHEN NOT ({waits}) AND {fails} THEN 'for a test' END",
            "error_code": f"CASE WHEN NOT ({waits}) AND {fails} THEN 'invalid_input' END",
            "output": f"CASE WHEN {done} THEN '{{\"format\":\"mp3\",\"duration_s\": 2.5,\"cache_hit\": false}}' END",
            "request": "'{\"text\":\"The ferry to the island leaves at nine, number ' || i || '.\"}'",
        },
        "job_events": {"job_id": job, "at_ms": at, "event": "'claimed'", "attempt": "1", "owner": "'w-1'"},
        "webhook_deliveries": {
            "job_id": job, "tenant": of(TENANTS, "i % 10"), "endpoint_id": of(ENDPOINTS, "i / 10 % 8"),
            "receiver": "'receiver.example'", "url": "'https://receiver.example/'",
            "state": "CASE WHEN i % 1000 = 3 THEN 'FAILED' ELSE 'DELIVERED' END", "tries": "1", "due_ms": at,
            "created_ms": at,
        },
        "cache_entries": {
            "key": digest(3), "scope": "'tenant'", "tenant": of(TENANTS, "i % 10"),
            "backend": of(BACKENDS, "i % 3"), "revision": "'1'", "voice": "'default'", "format": "'mp3'",
            "blob_hash": digest(1), "size_bytes": "20000 + i % 977",
            "output": "'{\"format\":\"mp3\",\"duration_s\": 2.5}'",
            "created_ms": f"{used} - 1000", "last_used_ms": used, "hits": "i % 3",
        },
        "takes": {
            "key": digest(2), "blob_hash": digest(1, "(:rows - 1 - i)"), "samples": "60000", "sample_rate": "24000",
            "size_bytes": "20000 + i % 977", "gain_db": "0", "warnings": "'[]'", "created_ms": f"{used} - 1000",
            "last_used_ms": used, "job_id": job,
        },
    }  # fmt: skip


@contextlib.contextmanager
def _without_indexes(connection: Connection) -> Iterator[None]:
    """Remove the indexes (except of primary keys), foreign keys and triggers until the end of the `with`."""
    dialect = connection.dialect.name
    for hurry in _FAST_SQLITE if dialect == "sqlite" else _FAST_POSTGRESQL:
        connection.exec_driver_sql(hurry)
    tables = tuple(_values(dialect == "sqlite"))
    indexes = [row for table in tables for row in connection.execute(text(_INDEXES[dialect]), {"table": table}).all()]
    triggers = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    dropped = connection.exec_driver_sql(triggers).all() if dialect == "sqlite" else []
    for name, _ in indexes:
        connection.exec_driver_sql(f"DROP INDEX {name}")
    for name, _ in dropped:
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
    yield
    for _, sql in (*indexes, *dropped):
        connection.exec_driver_sql(sql)
    connection.exec_driver_sql("PRAGMA journal_mode = WAL" if dialect == "sqlite" else "VACUUM (ANALYZE)")


@functools.cache
def _on_postgresql() -> str:
    """Return the name of a large database to copy; there is one for each process, since each has its own server."""
    server = the_server()
    name = server.create()
    migrate.upgrade(server.url(name))
    fill(server.url(name))
    return name


@contextlib.contextmanager
def large_postgresql() -> Iterator[str]:
    """Return the URL of a new large PostgreSQL database."""
    template, server = _on_postgresql(), the_server()
    name = server.create(f"{template} STRATEGY FILE_COPY")
    try:
        yield server.url(name)
    finally:
        server.drop(name)


def large_sqlite(shared: Path) -> Path:
    """Return the file of a large SQLite database, for reading and copying only.

    Args:
        shared: a folder that all processes of a test run share; the first caller makes the file.
    """
    finished = shared / "large.db"
    with (shared / "large.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            folder = shared / "large-unfinished"
            shutil.rmtree(folder, ignore_errors=True)
            url = new_database_url(folder)
            fill(url)
            (folder / "voxgate.db").rename(finished)
    return finished


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder that all processes of this test run share; the last user removes it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users.lock").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        yield folder
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for file in folder.glob("large.db*"):
                file.unlink()


@pytest.fixture(scope="session", params=("sqlite", "postgresql"))
def large_url(request: pytest.FixtureRequest, shared_folder: Path) -> str:
    """Return the large database, for tests that only read. Every test with this fixture runs on both kinds."""
    if request.param == "postgresql":
        return the_server().url(_on_postgresql())
    return f"sqlite:///{large_sqlite(shared_folder)}"


@pytest.fixture(scope="module", params=("sqlite", "postgresql"))
def large_copy(
    request: pytest.FixtureRequest, shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Return a large database for the tests of one file, on both kinds."""
    if request.param == "postgresql":
        with large_postgresql() as url:
            yield url
        return
    copy = tmp_path_factory.mktemp("large") / "voxgate.db"
    shutil.copyfile(large_sqlite(shared_folder), copy)
    yield f"sqlite:///{copy}"
    for file in copy.parent.iterdir():
        file.unlink()

"""Converts rows of jobs to records and back; writes the events, webhooks, usage and notices of a job's changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection, Row

from storage.db import statements
from storage.db.notices import Topic, tell
from storage.db.tally import Ended, Moves, note
from storage.jobs.sql import COLUMNS
from storage.records import JobRecord, JobState, Lane

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

STATES = {state.value: state for state in JobState}
LANES = tuple(Lane)
_STATE = COLUMNS.index("state")
_LOW_PRIORITY = COLUMNS.index("low_priority")
_CANCEL_REQUESTED = COLUMNS.index("cancel_requested")
_LANE = COLUMNS.index("lane")
_DAY_MS = 86_400_000


def job_of(row: AnyRow) -> JobRecord:
    """Convert a row of all columns, in order, to a record; SQLite has neither enums nor booleans."""
    values = list(row)
    values[_STATE] = STATES[values[_STATE]]
    values[_LOW_PRIORITY] = bool(values[_LOW_PRIORITY])
    values[_CANCEL_REQUESTED] = bool(values[_CANCEL_REQUESTED])
    values[_LANE] = LANES[values[_LANE]]
    return JobRecord(*values)


def maybe_job(row: AnyRow | None) -> JobRecord | None:
    """As `job_of`; None for no row."""
    return None if row is None else job_of(row)


def params_of(job: JobRecord) -> dict[str, Any]:
    """Return a job as the parameters of an insert."""
    params = msgspec.structs.asdict(job)
    params["state"] = job.state.value
    return params


def row_of(job: JobRecord) -> tuple[Any, ...]:
    """Return a job as a tuple in the order of the columns."""
    values = msgspec.structs.astuple(job)
    return (*values[:_STATE], job.state.value, *values[_STATE + 1 :])


def spend_hits(conn: Connection, jobs: Sequence[JobRecord]) -> None:
    """Add the usage of jobs that the cache answered, in the transaction that stores them."""
    sums: dict[tuple[str, str, str, str, str], list[int]] = {}
    for job in jobs:
        day = _day((job.finished_ms or job.created_ms) // _DAY_MS)
        spent = sums.setdefault((job.tenant, job.key_id, job.endpoint_id, job.backend, day), [0, 0])
        spent[0] += job.chars
        spent[1] += 1
    # The same order on every server avoids deadlocks: PostgreSQL locks row by row.
    for (tenant, key_id, endpoint_id, backend, day), (chars, count) in sorted(sums.items()):
        place = {"tenant": tenant, "key_id": key_id, "endpoint_id": endpoint_id, "backend": backend, "day": day}
        used = {"characters": chars, "audio_ms": 0, "jobs": count, "cache_hits": count, "cost_micro_usd": 0}
        conn.execute(statements.ADD_USAGE, place | used)


@lru_cache(8)
def _day(number: int) -> str:
    """Format a UTC day, counted from 1970, in ISO 8601."""
    return datetime.fromtimestamp(number * _DAY_MS / 1000, UTC).date().isoformat()


def log_events(
    conn: Connection,
    event: str,
    jobs: Sequence[tuple[str, int]],
    now: int,
    owner: str | None = None,
    detail: str | None = None,
) -> None:
    """Write one event for each of `jobs` (id, attempt)."""
    if jobs:
        shared = {"event": event, "now": now, "owner": owner, "detail": detail}
        conn.execute(statements.ADD_EVENT, [shared | {"job_id": i, "attempt": attempt} for i, attempt in jobs])


def log_ended(
    conn: Connection,
    rows: Sequence[AnyRow],
    event: str,
    now: int,
    detail: str | None = None,
    owner: str | None = None,
) -> None:
    """Write events and webhooks of jobs that ended (rows as returned by `job_sql`), and notify their waiters."""
    log_events(conn, event, [(row[0], row[5]) for row in rows], now, owner, detail)
    note(conn, [(row[2], Ended.of(STATES[event])) for row in rows])
    if rows:
        tell(conn, Topic.JOBS, [row[0] for row in rows])
        if event != JobState.COMPLETED.value:
            tell(conn, Topic.QUEUE)  # a follower may lead now
    owe(conn, [(row[0], row[1], row[6]) for row in rows if row[6] is not None], now)


def moves_of(jobs: Sequence[JobRecord]) -> Moves:
    """Return the tally's counts for jobs that were stored in a final state."""
    return [(job.endpoint_id, Ended.of(job.state)) for job in jobs if job.state.final]


def owe(conn: Connection, owed: Sequence[tuple[str, str, str]], now: int) -> None:
    """Add pending webhooks (job id, tenant, URL), in the transaction that ends their jobs."""
    rows = [
        {"job_id": job_id, "tenant": tenant, "receiver": _receiver(url), "url": url, "now": now}
        for job_id, tenant, url in owed
    ]
    if rows:
        conn.execute(statements.ADD_WEBHOOK, rows)


def _receiver(url: str) -> str:
    """Return host and port of a URL; "" if it cannot be parsed."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""

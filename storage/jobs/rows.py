"""Converts rows of jobs to records and back; writes the events, webhooks, usage and notices of a job's changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection, Row

from storage.db import statements
from storage.db.notices import Topic, notify
from storage.db.tally import Ended, EndedCounts, note_counts
from storage.jobs.sql import COLUMNS, INSERT, INSERT_SQLITE
from storage.records import JobRecord, JobState, Lane

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

STATES = {state.value: state for state in JobState}
LANES = tuple(Lane)
_STATE = COLUMNS.index("state")
_LOW_PRIORITY = COLUMNS.index("low_priority")
_LANE = COLUMNS.index("lane")
_ARMS = COLUMNS.index("arms")
_DAY_MS = 86_400_000


def job_of(row: AnyRow | tuple[Any, ...]) -> JobRecord:
    """Convert a row of `COLUMNS`, in order, to a record; SQLite has neither enums nor booleans."""
    values = list(row)
    values[_STATE] = STATES[values[_STATE]]
    values[_LOW_PRIORITY] = bool(values[_LOW_PRIORITY])
    values[_LANE] = LANES[values[_LANE]]
    values[_ARMS] = tuple(values[_ARMS].split())
    return JobRecord(*values)


def maybe_job(row: AnyRow | None) -> JobRecord | None:
    """As `job_of`; None for no row."""
    return None if row is None else job_of(row)


def params_of(job: JobRecord) -> dict[str, Any]:
    """Return a job as the parameters of an insert."""
    params = msgspec.structs.asdict(job)
    params["state"] = job.state.value
    params["arms"] = " ".join(job.arms)
    return params


def row_of(job: JobRecord) -> tuple[Any, ...]:
    """Return a job as a tuple in the order of the columns, with the plain types that SQLite's driver takes fastest."""
    values = list(msgspec.structs.astuple(job))
    values[_STATE] = job.state.value
    values[_LOW_PRIORITY] = int(job.low_priority)
    values[_LANE] = int(job.lane)
    values[_ARMS] = " ".join(job.arms)
    return tuple(values)


def insert_jobs(conn: Connection, jobs: Sequence[JobRecord]) -> None:
    """Insert new rows and note their counts in the tally."""
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql(INSERT_SQLITE, [row_of(job) for job in jobs])
    else:
        conn.execute(INSERT, [params_of(job) for job in jobs])
    note_counts(conn, tally_counts(jobs))


def insert_hits(conn: Connection, jobs: Sequence[JobRecord]) -> None:
    """Insert jobs that the cache answered, with their usage."""
    insert_jobs(conn, jobs)
    add_hit_usage(conn, jobs)


def add_hit_usage(conn: Connection, jobs: Sequence[JobRecord]) -> None:
    """Add the usage of jobs that the cache answered, in the transaction that stores them."""
    sums: dict[tuple[str, str, str, str, int], list[int]] = {}
    for job in jobs:
        day = (job.finished_ms or job.created_ms) // _DAY_MS
        place = (job.tenant, job.key_id, job.endpoint_id, job.backend, day)
        spent = sums.get(place)
        if spent is None:
            sums[place] = [job.chars, 1]
        else:
            spent[0] += job.chars
            spent[1] += 1
    statements.add_usage(
        conn, [(*place, _day(day), chars, 0, count, count, 0) for (*place, day), (chars, count) in sums.items()]
    )


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
    note_counts(conn, [(row[2], Ended.of(STATES[event])) for row in rows])
    if rows:
        notify(conn, Topic.JOBS, [row[0] for row in rows])
        if event != JobState.COMPLETED.value:
            notify(conn, Topic.QUEUE)  # a follower may lead now
    add_webhooks(conn, [(row[0], row[1], row[6]) for row in rows if row[6] is not None], now)


def tally_counts(jobs: Sequence[JobRecord]) -> EndedCounts:
    """Return the tally's counts for jobs that were stored in a final state."""
    completed = Counter(job.endpoint_id for job in jobs if job.state is JobState.COMPLETED)
    others = [job for job in jobs if job.state is not JobState.COMPLETED and job.state.final]
    moves = [(endpoint_id, Ended(completed=n)) for endpoint_id, n in completed.items()]
    return moves + [(job.endpoint_id, Ended.of(job.state)) for job in others]


def add_webhooks(conn: Connection, webhooks: Sequence[tuple[str, str, str]], now: int) -> None:
    """Add pending webhooks (job id, tenant, URL), in the transaction that ends their jobs."""
    rows = [
        {"job_id": job_id, "tenant": tenant, "receiver": _receiver(url), "url": url, "now": now}
        for job_id, tenant, url in webhooks
    ]
    if rows:
        conn.execute(statements.ADD_WEBHOOK, rows)


def _receiver(url: str) -> str:
    """Return host and port of a URL; "" if it cannot be parsed."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""

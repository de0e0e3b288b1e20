"""Reads pages of a tenant's jobs, newest first, for lists that people read."""

from __future__ import annotations

import functools

import msgspec
from sqlalchemy import TextClause, text

from storage.db.database import Database
from storage.records import JobState

_PREFIX = "sync-"
_BRIEF = (
    "j.id, j.state, j.backend, j.chars, j.created_ms, j.started_ms, j.finished_ms, j.delay_ms, j.execution_ms, "
    "j.retries, j.error_code, j.error, j.webhook"
)
_WALK = (
    "SELECT * FROM (SELECT id, {made} AS made FROM jobs WHERE tenant = :tenant AND endpoint_id = :endpoint_id "
    "AND state = '{state}' AND {before} ORDER BY id DESC LIMIT :limit) AS {kind}_{state}"
)
_KINDS = {
    "plain": {"made": "id", "before": "id < :plain"},
    "sync": {"made": f"SUBSTR(id, {len(_PREFIX) + 1})", "before": f"id >= '{_PREFIX}' AND id < :sync"},
}


@functools.cache
def page_of(states: tuple[JobState, ...]) -> TextClause:
    """Build the statement for a page of jobs in these states.

    Ids contain their time, so an index that ends with the id is in time order. Reads at most one page of index entries
    for each state and each of `/run` and `/runsync`, and table rows only for the jobs on the page.
    """
    walks = " UNION ALL ".join(
        _WALK.format(kind=kind, state=state.value, **parts) for state in states for kind, parts in _KINDS.items()
    )
    return text(
        f"SELECT {_BRIEF} FROM (SELECT id, made FROM ({walks}) AS walks ORDER BY made DESC LIMIT :limit) AS p "  # noqa: S608
        "CROSS JOIN jobs j WHERE j.id = p.id ORDER BY p.made DESC"
    )


_AFTER_ALL = "g"
"""A string that sorts after every UUID, in any collation."""


class JobBrief(msgspec.Struct, frozen=True):
    """A job as shown in a list, without its text and audio."""

    id: str
    state: JobState
    backend: str
    chars: int
    created_ms: int
    started_ms: int | None
    finished_ms: int | None
    delay_ms: int
    execution_ms: int
    retries: int
    error_code: str | None
    error: str | None
    webhook: str | None


class JobPages:
    """Reads pages of jobs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(
        self, tenant: str, endpoint_id: str, states: tuple[JobState, ...], limit: int, before: str | None = None
    ) -> list[JobBrief]:
        """Return at most `limit` of a tenant's jobs at an endpoint, newest first.

        Args:
            before: the id of the last job on the previous page; that job may have been deleted.
        """
        made = _AFTER_ALL if before is None else before.removeprefix(_PREFIX)
        params = {
            "tenant": tenant,
            "endpoint_id": endpoint_id,
            "limit": limit,
            "plain": made,
            "sync": _PREFIX + made,
        }
        statement = page_of(states or tuple(JobState))
        return await self._db.read(
            lambda conn: [JobBrief(row[0], JobState(row[1]), *row[2:]) for row in conn.execute(statement, params)]
        )

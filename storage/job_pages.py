"""Pages of a tenant's jobs, newest first, for people who look for one."""

from __future__ import annotations

import msgspec
from sqlalchemy import bindparam, text

from storage.database import Database
from storage.records import JobState

_PREFIX = "sync-"
_BRIEF = (
    "id, state, backend, chars, created_ms, started_ms, finished_ms, delay_ms, execution_ms, retries, error_code, "
    "error, webhook"
)
_MINE = "tenant = :tenant AND endpoint_id = :endpoint_id AND state IN :states"
_PAGE = text(
    f"SELECT * FROM (SELECT {_BRIEF}, id AS made FROM jobs WHERE id < :plain AND {_MINE} "  # noqa: S608 - constants
    "ORDER BY id DESC LIMIT :limit) AS plain UNION ALL "
    f"SELECT * FROM (SELECT {_BRIEF}, SUBSTR(id, {len(_PREFIX) + 1}) AS made FROM jobs "
    f"WHERE id >= '{_PREFIX}' AND id < :sync AND {_MINE} ORDER BY id DESC LIMIT :limit) AS sync "
    "ORDER BY made DESC LIMIT :limit"
).bindparams(bindparam("states", expanding=True))
"""A page of jobs. Ids hold their time, so the primary key is the order: one walk for `/run`, one for `/runsync`."""

_AFTER_ALL = "g"
"""Behind every UUID, in any collation."""


class JobBrief(msgspec.Struct, frozen=True):
    """What a list says of a job; its text and its audio are not read."""

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
    """Reads pages."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(
        self, tenant: str, endpoint_id: str, states: tuple[JobState, ...], limit: int, before: str | None = None
    ) -> list[JobBrief]:
        """At most `limit` of a tenant's jobs at an endpoint, newest first.

        Args:
            before: the id of the last job of the page before; that job need not be there any more.
        """
        made = _AFTER_ALL if before is None else before.removeprefix(_PREFIX)
        params = {
            "tenant": tenant,
            "endpoint_id": endpoint_id,
            "states": [state.value for state in states or tuple(JobState)],
            "limit": limit,
            "plain": made,
            "sync": _PREFIX + made,
        }
        return await self._db.read(
            lambda conn: [JobBrief(row[0], JobState(row[1]), *row[2:-1]) for row in conn.execute(_PAGE, params)]
        )

"""What was used, per tenant, key, endpoint, backend and day; and the shares of limits servers have leased."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from sqlalchemy import Connection, Executable, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from storage.database import Database
from storage.models import LimitWindow, Usage
from storage.records import UsageDelta

_usage = Usage.__table__
_windows = LimitWindow.__table__

_PLACE = ("tenant", "key_id", "endpoint_id", "backend", "day")
_SUMS = ("characters", "audio_ms", "jobs", "cache_hits", "cost_micro_usd")

GroupBy = Literal["tenant", "key_id", "endpoint_id", "backend", "day"]


def _upserts(dialect: str) -> tuple[Executable, Executable]:
    """Add to a row of usage, or make it; make a limit's window unless it is there."""
    make = sqlite.insert if dialect == "sqlite" else postgresql.insert
    into_usage = make(Usage)
    add = into_usage.on_conflict_do_update(
        index_elements=[_usage.c[name] for name in _PLACE],
        set_={name: _usage.c[name] + into_usage.excluded[name] for name in _SUMS},
    )
    return add, make(LimitWindow).on_conflict_do_nothing()


_UPSERTS = {dialect: _upserts(dialect) for dialect in ("sqlite", "postgresql")}

_WINDOW = (
    _windows.c.key_id == bindparam("the_key"),
    _windows.c.window == bindparam("the_window"),
    _windows.c.start_ms == bindparam("the_start"),
)
# Locked on PostgreSQL: two servers must not both read the same sum. SQLite writes one transaction at a time anyway.
_USED = select(_windows.c.used).where(*_WINDOW).with_for_update()
_TAKE = update(LimitWindow).where(*_WINDOW).values(used=_windows.c.used + bindparam("taken"))
_PRUNE = delete(LimitWindow).where(_windows.c.start_ms < bindparam("before_ms"), _windows.c.window != bindparam("keep"))


class UsagePlace(msgspec.Struct, frozen=True):
    """Which row of usage: `day` is UTC, ISO 8601."""

    tenant: str
    key_id: str
    endpoint_id: str
    backend: str
    day: str


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A sum of usage; fields that were not grouped by are empty."""

    tenant: str = ""
    key_id: str = ""
    endpoint_id: str = ""
    backend: str = ""
    day: str = ""
    characters: int = 0
    audio_ms: int = 0
    jobs: int = 0
    cache_hits: int = 0
    cost_micro_usd: int = 0

    @property
    def cost_usd(self) -> float:
        """In US dollars."""
        return self.cost_micro_usd / 1_000_000


class UsageStore:
    """The tables `usage` and `limit_windows`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._add, self._make_window = _UPSERTS[database.dialect]

    async def add(self, deltas: Mapping[UsagePlace, UsageDelta]) -> None:
        """Add to what was used, in one transaction."""
        # In one order on every server: PostgreSQL locks row by row.
        ordered = sorted(deltas.items(), key=lambda item: msgspec.structs.astuple(item[0]))
        rows = [{**msgspec.structs.asdict(place), **msgspec.structs.asdict(delta)} for place, delta in ordered]
        if rows:
            await self._database.writer.run(lambda connection: _execute(connection, self._add, rows))

    async def report(
        self,
        *,
        tenant: str | None = None,
        since: str | None = None,
        until: str | None = None,
        by: Iterable[GroupBy] = ("day", "backend"),
    ) -> list[UsageRow]:
        """Sums of usage, one row per group, in the groups' order.

        Args:
            tenant: of this tenant only; None: of all.
            since: first day, ISO 8601 (UTC); until: last day, included.
            by: what to group by.
        """
        groups = [_usage.c[name] for name in by]
        statement = select(*groups, *(func.sum(_usage.c[name]).label(name) for name in _SUMS))
        if tenant is not None:
            statement = statement.where(_usage.c.tenant == tenant)
        if since is not None:
            statement = statement.where(_usage.c.day >= since)
        if until is not None:
            statement = statement.where(_usage.c.day <= until)
        statement = statement.group_by(*groups).order_by(*groups) if groups else statement

        def read(connection: Connection) -> list[UsageRow]:
            rows = [dict(row) for row in connection.execute(statement).mappings() if row["jobs"] is not None]
            for row in rows:
                # PostgreSQL sums bigints into numerics.
                row.update({name: int(row[name]) for name in _SUMS})
            return msgspec.convert(rows, list[UsageRow])

        return await self._database.read(read)

    async def take_share(self, key_id: str, window: str, start_ms: int, want: int, limit: int) -> int:
        """Lease part of a limit that all servers share.

        Args:
            key_id: whose limit: a key's id, or another name of what is limited.
            window: which limit, and the length of its window.
            start_ms: when the window began, UTC milliseconds; every server names the same.
            want: how much to take, at least 0.
            limit: the most all servers together may take in this window.

        Returns:
            How much was granted, 0 to `want`. Less than `want` means that the limit is reached.
        """
        place = {"the_key": key_id, "the_window": window, "the_start": start_ms}

        def take(connection: Connection) -> int:
            connection.execute(self._make_window, {"key_id": key_id, "window": window, "start_ms": start_ms, "used": 0})
            granted = max(0, min(want, limit - int(connection.execute(_USED, place).scalar_one())))
            if granted:
                connection.execute(_TAKE, {**place, "taken": granted})
            return granted

        return await self._database.writer.run(take)

    async def prune_windows(self, before_ms: int, keep: str = "") -> None:
        """Delete windows that began before this wall time, but for those of one name; nobody asks for them again."""
        row: dict[str, object] = {"before_ms": before_ms, "keep": keep}
        await self._database.writer.run(lambda connection: _execute(connection, _PRUNE, [row]))


def _execute(connection: Connection, statement: Executable, rows: list[dict[str, object]]) -> None:
    connection.execute(statement, rows)


__all__ = ["GroupBy", "UsageDelta", "UsagePlace", "UsageRow", "UsageStore"]

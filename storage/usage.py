"""Stores usage per tenant, key, endpoint, backend and day, and the shares of limits that servers have leased."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from sqlalchemy import Connection, bindparam, delete, func, select, text, update

from storage.db import statements
from storage.db.database import Database
from storage.db.models import LimitWindowRow, UsageRow
from storage.records import UsageDelta

_usage = UsageRow.__table__
_windows = LimitWindowRow.__table__

_SUMS = statements.USAGE[5:]

GroupBy = Literal["tenant", "key_id", "endpoint_id", "backend", "day"]


_MAKE_WINDOW = text(
    'INSERT INTO limit_windows (key_id, "window", start_ms, used) VALUES (:key_id, :window, :start_ms, :used) '
    "ON CONFLICT DO NOTHING"
)
_WINDOW = (
    _windows.c.key_id == bindparam("the_key"),
    _windows.c.window == bindparam("the_window"),
    _windows.c.start_ms == bindparam("the_start"),
)
# Locked on PostgreSQL: two servers must not both read the same sum. SQLite runs one write transaction at a time.
_USED = select(_windows.c.used).where(*_WINDOW).with_for_update()
_TAKE = update(LimitWindowRow).where(*_WINDOW).values(used=_windows.c.used + bindparam("taken"))
_PRUNE = delete(LimitWindowRow).where(
    _windows.c.start_ms < bindparam("before_ms"), _windows.c.window != bindparam("keep")
)
_TAKE_IF = _TAKE.where(_windows.c.used + bindparam("taken") <= bindparam("most")).returning(_windows.c.used)


class UsagePlace(msgspec.Struct, frozen=True):
    """The key of a usage row; `day` is UTC, ISO 8601."""

    tenant: str
    key_id: str
    endpoint_id: str
    backend: str
    day: str


class UsageTotal(msgspec.Struct, frozen=True, kw_only=True):
    """A sum of usage; fields that are not grouped by are empty."""

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
        """Return the cost in US dollars."""
        return self.cost_micro_usd / 1_000_000


class Share(msgspec.Struct, frozen=True):
    """A request for a part of a limit that all servers share.

    Args:
        key_id: the key's id, or another name of the limited thing.
        window: the name of the limit and the length of its window.
        start_ms: the start of the window, UTC milliseconds; the same on every server.
        need: the amount needed now; 0 for none.
        more: the amount to take in addition, as far as available.
        limit: the most that all servers together may take in this window.
    """

    key_id: str
    window: str
    start_ms: int
    need: int
    more: int
    limit: int


class Taken(msgspec.Struct, frozen=True):
    """The result of taking shares: the amount granted of each, or None if one limit had less than needed; and the most
    that each limit has left."""

    granted: tuple[int, ...] | None
    left: tuple[int, ...]


class UsageStore:
    """The tables `usage` and `limit_windows`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, deltas: Mapping[UsagePlace, UsageDelta]) -> None:
        """Add to usage rows in one transaction."""
        rows = [(*msgspec.structs.astuple(place), *msgspec.structs.astuple(delta)) for place, delta in deltas.items()]
        if rows:
            await self._database.writer.run(lambda connection: statements.add_usage(connection, rows))

    async def report(
        self,
        *,
        tenant: str | None = None,
        since: str | None = None,
        until: str | None = None,
        by: Iterable[GroupBy] = ("day", "backend"),
    ) -> list[UsageTotal]:
        """Return sums of usage, one row per group, ordered by the groups.

        Args:
            tenant: only this tenant's usage; None for all tenants.
            since: first day, ISO 8601 (UTC); until: last day, included.
            by: the columns to group by.
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

        def read(connection: Connection) -> list[UsageTotal]:
            rows = [dict(row) for row in connection.execute(statement).mappings() if row["jobs"] is not None]
            for row in rows:
                # PostgreSQL sums bigints into numerics.
                row.update({name: int(row[name]) for name in _SUMS})
            return msgspec.convert(rows, list[UsageTotal])

        return await self._database.read(read)

    async def take_shares(self, shares: Sequence[Share]) -> Taken:
        """Take shares of limits: the needed amount of each, or nothing of any."""

        # The same order on every server avoids deadlocks: PostgreSQL locks row by row.
        order = sorted(range(len(shares)), key=lambda nth: msgspec.structs.astuple(shares[nth]))

        def take(connection: Connection) -> Taken:
            granted, left = [0] * len(shares), [share.limit for share in shares]  # upper bounds of limits not read
            for nth in order:
                part, left[nth] = self._take_one(connection, shares[nth])
                if part is None:
                    self._give_back(connection, shares, granted)
                    return Taken(None, tuple(map(int.__add__, left, granted)))
                granted[nth] = part
            return Taken(tuple(granted), tuple(left))

        return await self._database.writer.run(take)

    def _take_one(self, connection: Connection, share: Share) -> tuple[int | None, int]:
        """Return the amount taken, or None if less is left than needed; and the amount left."""
        place = _place(share)
        if share.need and not share.more:  # nearly all requests: one statement
            used = connection.execute(_TAKE_IF, place | {"taken": share.need, "most": share.limit}).scalar()
            if used is not None:
                return share.need, share.limit - int(used)
        made = {"key_id": share.key_id, "window": share.window, "start_ms": share.start_ms, "used": 0}
        connection.execute(_MAKE_WINDOW, made)
        left = max(0, share.limit - int(connection.execute(_USED, place).scalar_one()))
        if share.need > left:
            return None, left
        part = min(share.need + share.more, left)
        if part:
            connection.execute(_TAKE, place | {"taken": part})
        return part, left - part

    def _give_back(self, connection: Connection, shares: Sequence[Share], granted: Sequence[int]) -> None:
        for share, part in zip(shares, granted, strict=True):
            if part:
                connection.execute(_TAKE, _place(share) | {"taken": -part})

    async def prune_windows(self, before_ms: int, keep: str = "") -> None:
        """Delete windows that began before this wall time, except those named `keep`; they are not needed any more."""
        row = {"before_ms": before_ms, "keep": keep}
        await self._database.writer.run(lambda connection: connection.execute(_PRUNE, row).rowcount)


def _place(share: Share) -> dict[str, str | int]:
    return {"the_key": share.key_id, "the_window": share.window, "the_start": share.start_ms}


__all__ = ["GroupBy", "Share", "Taken", "UsageDelta", "UsagePlace", "UsageRow", "UsageStore"]

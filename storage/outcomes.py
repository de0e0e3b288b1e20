"""Stores what became of each attempt, at endpoints whose policy splits their requests among several arms."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, bindparam, text

from gateway.clock import Clock
from storage.db.batches import Batches
from storage.db.database import Database

HOUR_MS = 3_600_000
_PAGE = 10_000


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one attempt of an arm. There is none for cache hits, errors of the caller, shadows and samples.

    Args:
        policy: the version of the endpoint's route policy.
        unit: what the split is sticky by.
        step: the step of the policy's ramp; 0 without a ramp.
        failed: the attempt itself failed, whatever came after it.
        fell_back: another backend spoke instead.
        slow: the first audio came later than the route allows.
        bad_take: a take was empty, clipped or cut.
        comparable: every arm of the policy could have spoken the request, and this one was chosen by the split.
    """

    endpoint_id: str
    policy: str
    arm: str
    unit: str
    step: int = 0
    failed: bool = False
    fell_back: bool = False
    slow: bool = False
    bad_take: bool = False
    comparable: bool = False


_COLUMNS = Outcome.__struct_fields__
_ADD = text(
    f"INSERT INTO outcomes (at_ms, {', '.join(_COLUMNS)}) VALUES (:now, {', '.join(f':{name}' for name in _COLUMNS)})"  # noqa: S608 - constants
)
_OLD = text("SELECT id FROM outcomes WHERE at_ms < :before ORDER BY at_ms, id LIMIT :limit")
_BITS = ("failed", "fell_back", "slow", "bad_take")
_TAKE = text(
    f"DELETE FROM outcomes WHERE id IN :ids RETURNING endpoint_id, policy, arm, step, at_ms, {', '.join(_BITS)}"  # noqa: S608 - constants
).bindparams(bindparam("ids", expanding=True))
_ADD_HOUR = text(
    "INSERT INTO outcome_hours AS h (endpoint_id, policy, arm, step, hour_ms, attempts, "  # noqa: S608 - constants
    f"{', '.join(_BITS)}) VALUES (:endpoint_id, :policy, :arm, :step, :hour_ms, :attempts, "
    f"{', '.join(f':{bit}' for bit in _BITS)}) "
    "ON CONFLICT (endpoint_id, policy, arm, step, hour_ms) DO UPDATE SET attempts = h.attempts + excluded.attempts, "
    f"{', '.join(f'{bit} = h.{bit} + excluded.{bit}' for bit in _BITS)}"
)
_HOUR = ("endpoint_id", "policy", "arm", "step", "hour_ms")


def add(conn: Connection, outcomes: Sequence[Outcome], now: int) -> None:
    """Write outcomes in the transaction that ends their attempt."""
    if outcomes:
        conn.execute(_ADD, [msgspec.structs.asdict(outcome) | {"now": now} for outcome in outcomes])


class OutcomeStore:
    """Keeps the table of outcomes short."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def fold(self, before_ms: int) -> int:
        """Replace the outcomes before a time by their sums per arm and hour; returns their number."""
        batches = Batches(self._db, self._clock)
        folded = 0
        while True:
            page = {"before": before_ms, "limit": _PAGE}
            ids = await self._db.read(lambda conn, page=page: conn.execute(_OLD, page).scalars().all())  # type: ignore[misc]
            gone = sum(await batches.run(ids, _fold))
            folded += gone
            if not gone:  # none is left, or another server does the same
                return folded


def _fold(conn: Connection, ids: Sequence[int]) -> int:
    rows = conn.execute(_TAKE, {"ids": ids}).all()
    sums: dict[tuple[object, ...], list[int]] = {}
    for row in rows:
        hour = sums.setdefault((*row[:4], row[4] - row[4] % HOUR_MS), [0] * (1 + len(_BITS)))
        for at, value in enumerate((1, *row[5:])):
            hour[at] += int(value)
    if sums:
        named = [
            dict(zip((*_HOUR, "attempts", *_BITS), (*hour, *counts), strict=True)) for hour, counts in sums.items()
        ]
        # In one order on every server, so that two that fold at once do not deadlock.
        conn.execute(_ADD_HOUR, sorted(named, key=lambda row: [str(row[name]) for name in _HOUR]))
    return len(rows)

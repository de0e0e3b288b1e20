"""Usage that is counted in memory and written a moment later: that of answers given before their rows are."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from gateway.access.principal import Principal
from gateway.clock import Clock
from storage.records import UsageDelta
from storage.usage import UsagePlace, UsageStore

DAY_MS = 86_400_000

_Place: TypeAlias = tuple[str, str, str, str, str]
"""The fields of a UsagePlace; a tuple is a cheaper key."""


class UsageRecorder:
    """Sums usage until `flush`. Jobs that end in a transaction of their own write theirs there, not here."""

    def __init__(self, store: UsageStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._sums: dict[_Place, list[int]] = {}
        self._day_number = -1
        self._day = ""

    def note(self, principal: Principal, endpoint_id: str, backend: str, delta: UsageDelta) -> None:
        """Count this for today (UTC)."""
        number = self._clock.now_ms() // DAY_MS
        if number != self._day_number:
            self._day_number, self._day = number, day_of(number * DAY_MS)
        self._add((principal.tenant, principal.key_id, endpoint_id, backend, self._day), msgspec.structs.astuple(delta))

    async def flush(self) -> None:
        """Write what was counted; what cannot be written is kept for the next time.

        Raises:
            StorageError: what the database could not do.
        """
        sums, self._sums = self._sums, {}
        try:
            await self._store.add({UsagePlace(*place): UsageDelta(*sum_) for place, sum_ in sums.items()})
        except Exception:
            for place, delta in sums.items():
                self._add(place, delta)
            raise

    def _add(self, place: _Place, delta: Sequence[int]) -> None:
        sums = self._sums.get(place)
        if sums is None:
            self._sums[place] = list(delta)
            return
        for nth, value in enumerate(delta):  # on the path of every hit: no new objects
            if value:
                sums[nth] += value


def day_of(wall_ms: int) -> str:
    """The UTC day of a wall time in milliseconds, ISO 8601."""
    return datetime.datetime.fromtimestamp(wall_ms / 1000, datetime.UTC).date().isoformat()

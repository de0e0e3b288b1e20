"""Usage that is counted in memory and written a moment later: that of answers given before their rows are."""

from __future__ import annotations

import datetime

import msgspec

from gateway.access.principal import Principal
from gateway.clock import Clock
from storage.errors import StorageError
from storage.records import UsageDelta
from storage.usage import UsagePlace, UsageStore

_DAY_MS = 86_400_000
_NOTHING = UsageDelta(jobs=0)


class UsageRecorder:
    """Sums usage until `flush`. Jobs that end in a transaction of their own write theirs there, not here."""

    def __init__(self, store: UsageStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._sums: dict[UsagePlace, UsageDelta] = {}
        self._day_number = -1
        self._day = ""

    def note(self, principal: Principal, endpoint_id: str, backend: str, delta: UsageDelta) -> None:
        """Count this for today (UTC)."""
        number = self._clock.now_ms() // _DAY_MS
        if number != self._day_number:
            self._day_number, self._day = number, day_of(number * _DAY_MS)
        self._add(UsagePlace(principal.tenant, principal.key_id, endpoint_id, backend, self._day), delta)

    async def flush(self) -> None:
        """Write what was counted; what cannot be written is kept for the next time.

        Raises:
            StorageError: what the database could not do.
        """
        sums, self._sums = self._sums, {}
        try:
            await self._store.add(sums)
        except StorageError:
            for place, delta in sums.items():
                self._add(place, delta)
            raise

    def _add(self, place: UsagePlace, delta: UsageDelta) -> None:
        before = self._sums.get(place, _NOTHING)
        self._sums[place] = UsageDelta(
            *(a + b for a, b in zip(msgspec.structs.astuple(before), msgspec.structs.astuple(delta), strict=True))
        )


def day_of(wall_ms: int) -> str:
    """The UTC day of a wall time in milliseconds, ISO 8601."""
    return datetime.datetime.fromtimestamp(wall_ms / 1000, datetime.UTC).date().isoformat()

"""Usage that is summed in memory and written later, for cached answers whose rows could not be written."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from storage.records import JobRecord, UsageDelta
from storage.usage import UsagePlace, UsageStore

DAY_MS = 86_400_000

_Place: TypeAlias = tuple[str, str, str, str, str]
"""The fields of a UsagePlace; a tuple is a cheaper key."""


class UsageRecorder:
    """Sums usage until `flush` writes it.

    It holds the usage of cached answers whose rows were given up because the database could not be written for a long
    time. All other usage is written in the transaction that writes the job or its end.
    """

    def __init__(self, store: UsageStore) -> None:
        self._store = store
        self._sums: dict[_Place, list[int]] = {}

    def note(self, job: JobRecord, delta: UsageDelta) -> None:
        """Add usage to the UTC day on which the job ended."""
        day = day_of(job.finished_ms or job.created_ms)
        self._add((job.tenant, job.key_id, job.endpoint_id, job.backend, day), msgspec.structs.astuple(delta))

    async def flush(self) -> None:
        """Write the sums. If that fails, keep them for the next flush.

        Raises:
            StorageError: the database failed.
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
        for nth, value in enumerate(delta):
            sums[nth] += value


def day_of(wall_ms: int) -> str:
    """Return the UTC day of a wall time in milliseconds, as ISO 8601."""
    return datetime.datetime.fromtimestamp(wall_ms / 1000, datetime.UTC).date().isoformat()

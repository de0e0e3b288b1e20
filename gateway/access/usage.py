"""Usage that is counted in memory and written a moment later: that of answers whose rows could not be written."""

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
    """Sums usage until `flush`: that of cached answers whose rows were given up, since nothing could be written for
    long. All other usage is written in the transaction that writes the job, or its end."""

    def __init__(self, store: UsageStore) -> None:
        self._store = store
        self._sums: dict[_Place, list[int]] = {}

    def note(self, job: JobRecord, delta: UsageDelta) -> None:
        """Count this for the day (UTC) on which the job ended."""
        day = day_of(job.finished_ms or job.created_ms)
        self._add((job.tenant, job.key_id, job.endpoint_id, job.backend, day), msgspec.structs.astuple(delta))

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
        for nth, value in enumerate(delta):
            sums[nth] += value


def day_of(wall_ms: int) -> str:
    """The UTC day of a wall time in milliseconds, ISO 8601."""
    return datetime.datetime.fromtimestamp(wall_ms / 1000, datetime.UTC).date().isoformat()

"""Slots: the places of one server for running jobs, shared among lanes and tenants, and bounded in bytes.

No running job is ever stopped for another one, so fairness means that places stay free: some are for short jobs only,
some of the others for jobs that are not of low priority, and no tenant takes more of a lane than it leaves free
(Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998, with alpha = 1).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.jobs.model.lanes import SHORT_CHUNKS
from gateway.settings import JobSettings
from storage.records import Lane, WaitingJob

BYTES_PER_CHAR = 10
"""What a character of a running job's text holds: the request, the text, its plan, its script."""

CHUNK_BYTES = 500_000
"""What a chunk between engine and file holds: about ten seconds of speech."""

KEPT_SHARE = 8
"""With fewer places, none is kept for tenants that have no sentence running: it would be too many of them."""


class Slot(msgspec.Struct, frozen=True):
    """The place of one running job."""

    tenant: str
    lane: Lane
    size_bytes: int


class Slots:
    """Counts the jobs that run, and those that are just being claimed.

    Attributes:
        total: places there are.
        for_short: places that only short jobs may have: a quarter, at least two, but never all.
        kept: places that are left to the sentences of tenants that have none running.
    """

    def __init__(self, settings: JobSettings) -> None:
        self.total = settings.max_running
        self.for_short = min(max(2, self.total // 4), self.total - 1)
        self.kept = self.total // KEPT_SHARE
        self._budget = settings.running_bytes
        self._window = settings.chunk_window
        self._slots: dict[str, Slot] = {}

    @property
    def free(self) -> int:
        """Places that nobody has."""
        return self.total - len(self._slots)

    @property
    def size_bytes(self) -> int:
        """What the running jobs hold in memory, as estimated."""
        return sum(slot.size_bytes for slot in self._slots.values())

    def hold(self, job_id: str, tenant: str, lane: Lane, chars: int) -> None:
        """Give a job its place, or move it to another lane."""
        self._slots[job_id] = Slot(tenant, lane, self.size_of(lane, chars))

    def release(self, job_id: str) -> None:
        """Its place is free."""
        self._slots.pop(job_id, None)

    def size_of(self, lane: Lane, chars: int) -> int:
        """Bytes a job is expected to hold: its text in all its forms, and the chunks between engine and file."""
        chunks = SHORT_CHUNKS if lane is Lane.SHORT else self._window
        return chars * BYTES_PER_CHAR + chunks * CHUNK_BYTES

    def choose(self, candidates: Iterable[WaitingJob]) -> list[WaitingJob]:
        """Those of the candidates, in their order, that may have a place now; it is held for them.

        A job that finds too little memory left holds up those of its lane and later ones behind it, since it would
        wait for ever where smaller ones always fit. One that finds no place in its lane, or has had its share of it,
        holds up its own line only.
        """
        chosen: list[WaitingJob] = []
        lines: set[object] = set()
        last = max(Lane)
        for candidate in candidates:
            if candidate.line in lines or candidate.lane > last:
                continue
            if not self._has_place(candidate.tenant, candidate.lane):
                lines.add(candidate.line)
            elif not self._has_memory(candidate):
                last = Lane(candidate.lane - 1)
            elif not self._is_in_share(candidate):
                lines.add(candidate.line)
            else:
                self.hold(candidate.id, candidate.tenant, candidate.lane, candidate.chars)
                chosen.append(candidate)
        return chosen

    def admits(self, candidate: WaitingJob) -> bool:
        """Whether a job may have a place now."""
        return (
            self._has_place(candidate.tenant, candidate.lane)
            and self._has_memory(candidate)
            and self._is_in_share(candidate)
        )

    def _has_place(self, tenant: str, lane: Lane) -> bool:
        own = sum(slot.tenant == tenant and slot.lane is lane for slot in self._slots.values())
        if lane is Lane.SHORT:
            return self.free > (self.kept if own else 0)
        return self.free > self.kept and own < self._left(lane)

    def _left(self, lane: Lane) -> int:
        """Places of a lane that are free; of those that are not for short jobs, half are not for the low lane."""
        places = self.total - self.for_short
        left = places - sum(slot.lane is not Lane.SHORT for slot in self._slots.values())
        if lane is Lane.LOW:
            low = sum(slot.lane is Lane.LOW for slot in self._slots.values())
            left = min(left, max(1, places // 2) - low)
        return left

    def _has_memory(self, candidate: WaitingJob) -> bool:
        """Sentences always have: they are few and small. A job larger than the whole budget runs beside them only."""
        if candidate.lane is Lane.SHORT:
            return True
        held = self._held(Lane.LONG) + self._held(Lane.LOW)
        return not held or held + self.size_of(candidate.lane, candidate.chars) <= self._budget

    def _is_in_share(self, candidate: WaitingJob) -> bool:
        """Whether its tenant leaves as much of the memory as it has, and the low lane leaves half of it."""
        if candidate.lane is Lane.SHORT:
            return True
        size, own = self.size_of(candidate.lane, candidate.chars), self._held(candidate.lane, candidate.tenant)
        free = self._budget - self._held(Lane.LONG) - self._held(Lane.LOW)
        low = self._held(Lane.LOW) if candidate.lane is Lane.LOW else 0
        return (not own or own + size <= free) and (not low or low + size <= self._budget // 2)

    def _held(self, lane: Lane, tenant: str | None = None) -> int:
        slots = self._slots.values()
        return sum(s.size_bytes for s in slots if s.lane is lane and tenant in (None, s.tenant))

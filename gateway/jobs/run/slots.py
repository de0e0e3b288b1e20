"""Slots: the places of one server for running jobs, shared among lanes and tenants, and bounded in bytes.

A running job is never stopped for another one, so fairness requires free places: some are for short jobs only, some
of the others for jobs of normal priority, and no tenant takes more of a lane than it leaves free (Choudhury and
Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998, with alpha = 1).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.jobs.model.lanes import SHORT_CHUNKS
from gateway.settings import JobSettings
from storage.records import Lane, WaitingJob

BYTES_PER_CHAR = 10
"""Memory per character of a running job's text: the request, the text, its plan, its script."""

CHUNK_BYTES = 500_000
"""Memory of a chunk between engine and file: about ten seconds of speech."""

KEPT_SHARE = 8
"""One place in this many is kept for tenants without a running short job; with fewer places, none is kept."""


class Slot(msgspec.Struct, frozen=True):
    """The place of one running job."""

    tenant: str
    lane: Lane
    size_bytes: int


class Slots:
    """Counts the running jobs, and those under claim.

    Attributes:
        total: all places.
        for_short: places that only short jobs may have: a quarter, at least two, but never all.
        kept: places left free for short jobs of tenants that have none running.
        held_up: the lane in which the last choice left a job because memory was short, if any.
    """

    def __init__(self, settings: JobSettings) -> None:
        self.total = settings.max_running
        self.for_short = min(max(2, self.total // 4), self.total - 1)
        self.kept = self.total // KEPT_SHARE
        self._budget = settings.running_bytes
        self._window = settings.chunk_window
        self._slots: dict[str, Slot] = {}
        self.held_up: Lane | None = None

    @property
    def free(self) -> int:
        """Number of free places."""
        return self.total - len(self._slots)

    @property
    def size_bytes(self) -> int:
        """Estimated memory of the running jobs in bytes."""
        return sum(slot.size_bytes for slot in self._slots.values())

    def hold(self, job_id: str, tenant: str, lane: Lane, chars: int) -> None:
        """Give a job a place, or move it to another lane."""
        self._slots[job_id] = Slot(tenant, lane, self.size_of(lane, chars))

    def release(self, job_id: str) -> None:
        """Free the place of a job."""
        self._slots.pop(job_id, None)

    def size_of(self, lane: Lane, chars: int) -> int:
        """Return the estimated memory of a job in bytes: all copies of its text, and chunks between engine and file."""
        chunks = SHORT_CHUNKS if lane is Lane.SHORT else self._window
        return chars * BYTES_PER_CHAR + chunks * CHUNK_BYTES

    def choose(self, candidates: Iterable[WaitingJob]) -> list[WaitingJob]:
        """Choose, in order, the candidates that may run now, and hold a place for each.

        A job that does not fit into memory blocks the jobs behind it in its lane and in later lanes, since otherwise
        smaller jobs would delay it for ever. A job without a place in its lane, or whose tenant has its share of the
        lane, blocks its own line only.
        """
        chosen: list[WaitingJob] = []
        lines: set[object] = set()
        last = max(Lane)
        self.held_up = None
        for candidate in candidates:
            if not self.free:
                break
            if candidate.line in lines or candidate.lane > last:
                continue
            if not self._has_place(candidate.tenant, candidate.lane):
                lines.add(candidate.line)
            elif not self._has_memory(candidate):
                last, self.held_up = Lane(candidate.lane - 1), candidate.lane
            elif not self._is_in_share(candidate):
                lines.add(candidate.line)
            else:
                self.hold(candidate.id, candidate.tenant, candidate.lane, candidate.chars)
                chosen.append(candidate)
        return chosen

    def admits(self, candidate: WaitingJob) -> bool:
        """Return whether a job may have a place now."""
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
        """Return the free places of the long or low lane; the low lane may use half of the places of both."""
        places = self.total - self.for_short
        left = places - sum(slot.lane is not Lane.SHORT for slot in self._slots.values())
        if lane is Lane.LOW:
            low = sum(slot.lane is Lane.LOW for slot in self._slots.values())
            left = min(left, max(1, places // 2) - low)
        return left

    def _has_memory(self, candidate: WaitingJob) -> bool:
        """Return whether a job fits the budget. Short jobs always fit; one above the budget runs beside them only."""
        if candidate.lane is Lane.SHORT:
            return True
        held = self._held(Lane.LONG) + self._held(Lane.LOW)
        return not held or held + self.size_of(candidate.lane, candidate.chars) <= self._budget

    def _is_in_share(self, candidate: WaitingJob) -> bool:
        """Return whether the tenant leaves free as much memory as it holds, and the low lane leaves half of it."""
        if candidate.lane is Lane.SHORT:
            return True
        size, own = self.size_of(candidate.lane, candidate.chars), self._held(candidate.lane, candidate.tenant)
        free = self._budget - self._held(Lane.LONG) - self._held(Lane.LOW)
        low = self._held(Lane.LOW) if candidate.lane is Lane.LOW else 0
        return (not own or own + size <= free) and (not low or low + size <= self._budget // 2)

    def _held(self, lane: Lane, tenant: str | None = None) -> int:
        slots = self._slots.values()
        return sum(s.size_bytes for s in slots if s.lane is lane and tenant in (None, s.tenant))

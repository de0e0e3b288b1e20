"""Heads: reads the jobs that could be claimed now from the beginnings of the lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from gateway.clock import Clock
from storage.jobs.leases import LINES, JobLeases
from storage.records import Lane, Line, Place, Ring, WaitingJob

PAGES = 8
"""Lines in which one look reads a further page, behind a beginning that cannot be claimed."""

REWIND_S = 10.0
"""Seconds after which such a line is read from its beginning again, since followers may have lost their leader."""

ENDS = 2
"""Passes of a ring's end without a candidate after which looks stop, since every line was then read once."""


class HeadLook:
    """Reads the heads of the lines, some of each ring at a time, and behind blocked heads one page at a time.

    Thousands of tenants may wait. A look reads a bounded number of lines of each backend and lane, and the next look
    continues with the tenants behind them. So every line has its turn, and the cost of a look does not grow with the
    tenants.

    Thousands of followers of a running flight may come first in their line. A look reads at most one page of them; the
    next look continues there. The place is kept while the jobs found behind it are claimed.

    Attributes:
        unfinished: whether another look may find more: a page was read that held no candidate, or there are lines that
            this look did not read.
        partial: lanes with lines that this look did not read.
    """

    def __init__(self, leases: JobLeases, clock: Clock, lines: int = LINES) -> None:
        """Make a look; it reads at most `lines` lines of each backend and lane."""
        self._leases = leases
        self._clock = clock
        self._lines = lines
        self._after: dict[Ring, str] = {}
        self._before: dict[Ring, str] = {}
        self._ends: Counter[Ring] = Counter()
        self._behind: dict[Line, Place] = {}
        self._rewound = clock.monotonic()
        self.unfinished = False
        self.partial: set[Lane] = set()

    def begin(self) -> None:
        """Look at every ring again: after a wake-up, lines without candidates may have some."""
        self._ends.clear()

    def stay(self, lane: Lane) -> None:
        """Read the same lines of a lane again: one of their jobs waits for memory, and no other may pass it."""
        for ring in [ring for ring in {*self._after, *self._before} if ring.lane is lane]:
            self._after.pop(ring, None)
            if ring in self._before:
                self._after[ring] = self._before[ring]

    async def read(self, backends: Collection[str], per_line: int) -> list[WaitingJob]:
        """Return the candidates at the heads of these backends' lines, at most `per_line` each, by lane and age."""
        heads = await self._leases.candidates(backends, per_line, self._lines, self._after)
        self.unfinished = False
        if self._clock.monotonic() - self._rewound > REWIND_S:
            self._behind.clear()
            self._rewound = self._clock.monotonic()
        if not self._after and not heads.last:  # otherwise lines are missing here because they were not read
            self._behind = {line: place for line, place in self._behind.items() if line in heads.cut}
        found = list(heads.candidates)
        # Lines whose place was not kept come first, so that every line has its turn.
        pages = sorted(heads.cut, key=lambda line: line in self._behind)[:PAGES]
        for line in pages:
            most = per_line - sum(candidate.line == line for candidate in heads.candidates)
            more, place = await self._leases.behind(line, self._behind.pop(line, heads.cut[line]), most)
            found += more
            if place is not None:
                self._behind[line] = place
                self.unfinished |= not more
        self._advance(heads.last, found)
        found.sort(key=lambda job: (job.lane, job.created_ms, job.id))
        return found

    def _advance(self, last: dict[Ring, str], found: Collection[WaitingJob]) -> None:
        """Make the next look start behind the lines of this one."""
        partial = self._after.keys() | last.keys()
        with_candidates = {Ring(candidate.backend, candidate.lane) for candidate in found}
        for ring in partial:
            if ring in with_candidates:
                self._ends[ring] = 0
            elif ring not in last:
                self._ends[ring] += 1
        self._before, self._after = self._after, dict(last)
        self.partial = {ring.lane for ring in partial}
        self.unfinished |= any(ring not in with_candidates and self._ends[ring] < ENDS for ring in partial)

"""Heads: the jobs that could be claimed now, read from the beginnings of the lines."""

from __future__ import annotations

from collections.abc import Collection

from gateway.clock import Clock
from storage.jobs.leases import JobLeases
from storage.records import Line, Place, WaitingJob

PAGES = 8
"""Lines in which one look goes on behind a beginning that cannot be claimed."""

REWIND_S = 10.0
"""Seconds after which such a line is looked at from its beginning again: followers may have lost their leader."""


class HeadLook:
    """Reads the heads of the lines, and looks behind those that are blocked, a page each time.

    Thousands of followers of a running flight may stand before everybody else in their line. A look reads no more
    than a page of them; it goes on where it stopped, and keeps the place while what it found is claimed.

    Attributes:
        unfinished: whether another look may find more in a line of which a page was read and nothing found.
    """

    def __init__(self, leases: JobLeases, clock: Clock) -> None:
        self._leases = leases
        self._clock = clock
        self._behind: dict[Line, Place] = {}
        self._rewound = clock.monotonic()
        self.unfinished = False

    async def read(self, backends: Collection[str], per_line: int) -> list[WaitingJob]:
        """The candidates at the heads of these backends' lines, `per_line` of each at most, by lane and age."""
        heads = await self._leases.candidates(backends, per_line)
        self.unfinished = False
        if self._clock.monotonic() - self._rewound > REWIND_S:
            self._behind.clear()
            self._rewound = self._clock.monotonic()
        self._behind = {line: place for line, place in self._behind.items() if line in heads.cut}
        found = list(heads.candidates)
        # Those that were looked at least lately first, so that every line has its turn.
        pages = sorted(heads.cut, key=lambda line: line in self._behind)[:PAGES]
        for line in pages:
            most = per_line - sum(candidate.line == line for candidate in heads.candidates)
            more, place = await self._leases.behind(line, self._behind.pop(line, heads.cut[line]), most)
            found += more
            if place is not None:
                self._behind[line] = place
                self.unfinished |= not more
        found.sort(key=lambda job: (job.lane, job.created_ms, job.id))
        return found

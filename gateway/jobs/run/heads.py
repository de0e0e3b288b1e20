"""Heads: reads the jobs that could be claimed now from the beginnings of the lines."""

from __future__ import annotations

from collections.abc import Collection

from gateway.clock import Clock
from storage.jobs.leases import JobLeases
from storage.records import Line, Place, WaitingJob

PAGES = 8
"""Lines in which one look reads a further page, behind a beginning that cannot be claimed."""

REWIND_S = 10.0
"""Seconds after which such a line is read from its beginning again, since followers may have lost their leader."""


class HeadLook:
    """Reads the heads of the lines, and behind blocked heads one page at a time.

    Thousands of followers of a running flight may come first in their line. A look reads at most one page of them; the
    next look continues there. The place is kept while the jobs found behind it are claimed.

    Attributes:
        unfinished: whether another look may find more, since a page was read that held no candidate.
    """

    def __init__(self, leases: JobLeases, clock: Clock) -> None:
        self._leases = leases
        self._clock = clock
        self._behind: dict[Line, Place] = {}
        self._rewound = clock.monotonic()
        self.unfinished = False

    async def read(self, backends: Collection[str], per_line: int) -> list[WaitingJob]:
        """Return the candidates at the heads of these backends' lines, at most `per_line` each, by lane and age."""
        heads = await self._leases.candidates(backends, per_line)
        self.unfinished = False
        if self._clock.monotonic() - self._rewound > REWIND_S:
            self._behind.clear()
            self._rewound = self._clock.monotonic()
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
        found.sort(key=lambda job: (job.lane, job.created_ms, job.id))
        return found

"""Whose job is claimed next: deficit round robin by tenant, in characters.

A tenant that submitted a thousand jobs and one that submitted a single one take turns. What a tenant was served
beyond its turn is remembered as long as it keeps jobs waiting.
"""

from __future__ import annotations

from collections.abc import Iterable

from storage.records import Candidate


class Turns:
    """Orders the heads of the tenants' lines; keeps what each has been served."""

    def __init__(self) -> None:
        self._served: dict[str, int] = {}

    def order(self, candidates: Iterable[Candidate]) -> list[Candidate]:
        """Candidates in the order in which they should run; low priority after everything else."""
        lines: dict[tuple[bool, str], list[Candidate]] = {}
        for candidate in candidates:
            lines.setdefault((candidate.low_priority, candidate.tenant), []).append(candidate)
        tenants = {tenant for _, tenant in lines}
        floor = min((served for tenant, served in self._served.items() if tenant in tenants), default=0)
        # A newcomer starts level with the least served: it gets its turn, and no credit for its absence.
        served = {tenant: self._served.get(tenant, floor) for tenant in tenants}
        self._served = dict(served)
        ordered: list[Candidate] = []
        for low in (False, True):
            waiting = {tenant: line for (is_low, tenant), line in lines.items() if is_low is low}
            while waiting:
                tenant = min(waiting, key=lambda name: (served[name], waiting[name][0].created_ms))
                candidate = waiting[tenant].pop(0)
                served[tenant] += max(1, candidate.chars)
                ordered.append(candidate)
                if not waiting[tenant]:
                    del waiting[tenant]
        return ordered

    def serve(self, candidate: Candidate) -> None:
        """Count a job that was really claimed."""
        self._served[candidate.tenant] = self._served.get(candidate.tenant, 0) + max(1, candidate.chars)

"""Orders the waiting jobs for claims: by lane, and in each lane by fair queueing of tenants, in characters.

A tenant with a thousand jobs and a tenant with one job take turns. The characters a tenant was served in a lane count
in that lane only: a long or low-priority job does not delay its tenant's short jobs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from gateway.engines.fair import BURST
from storage.records import Lane, WaitingJob

SHORTS_IN_A_ROW = 8
"""Short jobs in a row before a waiting long one, so that an endless series of short jobs cannot starve it."""


class Turns:
    """Orders the heads of the lines; keeps the characters each tenant has been served."""

    def __init__(self) -> None:
        self._lanes = {lane: _FairQueue() for lane in Lane}
        self._shorts = 0

    def order(self, candidates: Iterable[WaitingJob]) -> list[WaitingJob]:
        """Return the candidates in the order in which they should run; low priority last."""
        waiting: dict[Lane, dict[str, list[WaitingJob]]] = {lane: {} for lane in Lane}
        for candidate in candidates:
            waiting[candidate.lane].setdefault(candidate.tenant, []).append(candidate)
        short, long, low = (self._lanes[lane].order(waiting[lane]) for lane in (Lane.SHORT, Lane.LONG, Lane.LOW))
        ordered: list[WaitingJob] = []
        shorts = self._shorts
        while short and long:
            line, shorts = (long, 0) if shorts >= SHORTS_IN_A_ROW else (short, shorts + 1)
            ordered.append(line.pop(0))
        return [*ordered, *short, *long, *low]

    def serve(self, candidate: WaitingJob) -> None:
        """Count a job that was claimed."""
        self._shorts = self._shorts + 1 if candidate.lane is Lane.SHORT else 0
        self._lanes[candidate.lane].serve(candidate)


class _FairQueue:
    """Start-time fair queueing of one lane (Goyal, Vin and Cheng, SIGCOMM 1996).

    A tenant that has just come goes before the tenants on its level. The characters a tenant was served above the
    level are remembered while it has no jobs, so that it gains nothing by leaving and coming back, except `BURST`.
    """

    def __init__(self) -> None:
        self._served: dict[str, int] = {}
        self._level = 0
        self._waited: set[str] = set()

    def order(self, waiting: dict[str, list[WaitingJob]]) -> list[WaitingJob]:
        self._served = {
            tenant: served for tenant, served in self._served.items() if served > self._level or tenant in waiting
        }
        served = {tenant: max(self._level, self._served.get(tenant, 0)) for tenant in waiting}
        new, self._waited = waiting.keys() - self._waited, set(waiting)
        lines = {tenant: list(reversed(line)) for tenant, line in waiting.items()}

        def turn(tenant: str) -> tuple[int, bool, int, int, int]:
            line, start = lines[tenant], max(self._level, served[tenant] - BURST)
            # Among tenants on one level, the one served least; among those that have just come, the one with the
            # fewest jobs: a single job before the first of a hundred.
            least = (len(line), served[tenant]) if tenant in new else (served[tenant], len(line))
            return start, tenant not in new, *least, line[-1].created_ms

        ordered: list[WaitingJob] = []
        # Of equal turns the first given comes first. Serving one tenant changes no other tenant's turn.
        turns = [(turn(tenant), nth, tenant) for nth, tenant in enumerate(lines)]
        heapq.heapify(turns)
        while turns:
            _, nth, tenant = heapq.heappop(turns)
            candidate = lines[tenant].pop()
            served[tenant] += max(1, candidate.chars)
            new.discard(tenant)
            ordered.append(candidate)
            if lines[tenant]:
                heapq.heappush(turns, (turn(tenant), nth, tenant))
        return ordered

    def serve(self, candidate: WaitingJob) -> None:
        served = max(self._level, self._served.get(candidate.tenant, 0))
        self._level = max(self._level, served - BURST)
        self._served[candidate.tenant] = served + max(1, candidate.chars)

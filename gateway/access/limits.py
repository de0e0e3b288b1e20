"""Rate limits per key and per endpoint, shared by all servers.

A limit is a count in a window of fixed length, aligned to UTC. SQL holds the count that all servers have taken
together. A limit below `EXACT_BELOW` is exact: each request takes its cost in SQL before it is admitted. For a larger
limit each server takes shares in advance and counts in memory. The servers together never exceed such a limit; they may
stop below it by the unused shares of the others.

While SQL does not answer, each server applies each limit alone, so that requests can still be answered from memory.

All on-demand endpoints together have the limits of one endpoint. Otherwise a caller could avoid a limit, and fill the
database with windows, by inventing endpoint names.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from gateway.access.principal import Principal
from gateway.clock import Clock
from gateway.errors import TooManyRequests
from gateway.settings.logs import get_logger
from storage.errors import StorageError
from storage.usage import Share, Taken

log = get_logger(__name__)

TakeShares: TypeAlias = Callable[[Sequence[Share]], Awaitable[Taken]]
"""`UsageStore.take_shares`."""

RUNPOD_PER_10_S: Final = {
    "run": 1000,
    "runsync": 2000,
    "status": 2000,
    "status-sync": 2000,
    "stream": 2000,
    "cancel": 100,
    "purge-queue": 2,
    "requests": 10,
}
"""RunPod's figures per endpoint, as documented on 2026-11-22. Other verbs have no limit."""

FREE_VERBS: Final = frozenset({"status", "status-sync", "stream", "cancel", "health", "endpoint", "requests", "audio"})
"""Verbs that do not count against a key's requests per minute, because they start no new work."""

ON_DEMAND: Final = "on_demand"
"""The common name of all on-demand endpoints in limits and metrics."""
PER_DAY: Final = "characters/day"

_MINUTE_MS = 60_000
_DAY_MS = 86_400_000
_TEN_SECONDS_MS = 10_000
EXACT_BELOW: Final = 1000
"""Limits below this are counted in SQL, request by request."""
SHARES: Final = 50
"""The approximate number of shares that a larger limit is divided into."""
_MAX_WINDOWS = 4096
_RETRY_S = 1.0


class Window:
    """One limit in one window of time, with the units that this server has taken and used."""

    __slots__ = (
        "end_ms",
        "left",
        "length_ms",
        "limit",
        "name",
        "share",
        "start_ms",
        "subject",
        "taken",
        "used",
        "wanted",
    )

    def __init__(self, subject: str, name: str, limit: int, length_ms: int, now_ms: int) -> None:
        self.subject = subject
        self.name = name
        self.limit = limit
        self.share = 0 if limit < EXACT_BELOW else limit // SHARES
        """Units to take beyond the present need."""
        self.length_ms = length_ms
        self.start_ms = now_ms - now_ms % length_ms
        self.end_ms = self.start_ms + length_ms
        self.taken = self.used = 0
        self.left = limit
        """The most units that SQL may still have. This number only falls."""
        self.wanted = False
        """True while a share is being taken in advance."""

    @property
    def free(self) -> int:
        """Units taken and not used yet. Negative if more was used while SQL did not answer."""
        return self.taken - self.used

    def fits(self, limit: int, now_ms: int) -> bool:
        """Return whether the limit is unchanged and `now_ms` lies in this window.

        False after the wall clock went back, because only SQL has the count of the earlier window.
        """
        return self.limit == limit and self.start_ms <= now_ms < self.end_ms

    def ask(self, need: int, more: int) -> Share:
        """Build the request for a share of this window."""
        return Share(self.subject, self.name, self.start_ms, need, more, self.limit)


_Costs: TypeAlias = list[tuple[Window, int]]


class Limits:
    """The limits that this server applies.

    Args:
        take_shares: takes shares of limits in SQL.
        per_endpoint: requests per 10 s and verb for each endpoint; empty for none.
    """

    def __init__(self, take_shares: TakeShares, clock: Clock, per_endpoint: dict[str, int]) -> None:
        self._take_shares = take_shares
        self._clock = clock
        self._per_endpoint = per_endpoint
        self.name_of: Callable[[str], str] = str
        """Gives the name under which an endpoint's requests are counted: `Endpoints.label`."""
        self._keys: dict[tuple[str, int], Window] = {}
        self._endpoints: dict[tuple[str, str, str], Window] = {}
        self._waiting: list[Window] = []
        self._wake = asyncio.Event()
        self._sql_down = False
        """True if the last request to SQL failed."""

    async def admit(self, principal: Principal, endpoint_id: str, verb: str, characters: int = 0) -> None:
        """Admit a request and count it, or refuse it and count nothing.

        Args:
            characters: length of the text to speak; 0 for requests without one.

        Raises:
            TooManyRequests: names the limit and the time after which a retry can succeed.
        """
        while not self.admit_now(principal, endpoint_id, verb, characters):
            if await self._take(self._costs(principal, endpoint_id, verb, characters)):
                return

    def admit_now(self, principal: Principal, endpoint_id: str, verb: str, characters: int = 0) -> bool:
        """Do the same as `admit` from memory alone.

        Returns:
            False, with nothing counted, where SQL is needed. Call `admit` then.
        """
        if principal.requests_per_minute is None and principal.characters_per_day is None and not self._per_endpoint:
            return True
        costs = self._costs(principal, endpoint_id, verb, characters)
        for window, cost in costs:
            if cost > window.free + window.left:
                raise self._refusal(window, cost)
        if not self._sql_down and any(cost > window.free for window, cost in costs):
            return False
        for window, cost in costs:
            window.used += cost
            if self._sql_down or (window.share and window.left and window.free <= window.share // 2):
                self._take_soon(window)
        return True

    async def run(self) -> None:
        """Take shares in advance, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            windows, self._waiting = self._waiting, []
            await asyncio.gather(*(self._take_ahead(window) for window in windows))
            if self._sql_down:
                await self._clock.sleep(_RETRY_S)

    async def _take(self, costs: _Costs) -> bool:
        """Take the units in SQL that a request needs beyond those free in memory.

        Returns:
            Whether the request is admitted. If not, `admit_now` then refuses it, or admits it because SQL is down.
        """
        held = [(window, max(0, min(cost, window.free))) for window, cost in costs]
        needs = [cost - free for (_, cost), (_, free) in zip(costs, held, strict=True)]
        asked = [window.ask(need, window.share if need else 0) for (window, _), need in zip(costs, needs, strict=True)]
        for window, free in held:
            window.used += free  # reserved: no other request may use it while SQL is asked
        admitted = False
        try:
            taken = await self._asked(asked)
            if taken is not None:
                admitted = taken.granted is not None
                for nth, (window, _) in enumerate(costs):
                    window.left = min(window.left, taken.left[nth])
                    window.taken += taken.granted[nth] if taken.granted is not None else 0
                    window.used += needs[nth] if admitted else 0
        finally:
            for window, free in held:
                window.used -= 0 if admitted else free
        return admitted

    async def _take_ahead(self, window: Window) -> None:
        taken = await self._asked([window.ask(0, window.share + max(0, -window.free))])
        if taken is None:
            self._waiting.append(window)
            self._wake.set()
            return
        window.wanted = False
        window.left = min(window.left, taken.left[0])
        window.taken += taken.granted[0] if taken.granted is not None else 0

    async def _asked(self, shares: Sequence[Share]) -> Taken | None:
        """Return what SQL grants; None if SQL does not answer."""
        try:
            taken = await self._take_shares(shares)
        except StorageError as error:
            self._sql_down = True
            log.warning("limit not shared", windows=[share.window for share in shares], error=error)
            return None
        except Exception:  # a defect here must not refuse every request
            self._sql_down = True
            log.exception("limit not shared", windows=[share.window for share in shares])
            return None
        self._sql_down = False
        return taken

    def _take_soon(self, window: Window) -> None:
        if not window.wanted:
            window.wanted = True
            self._waiting.append(window)
            self._wake.set()

    def _costs(self, principal: Principal, endpoint_id: str, verb: str, characters: int) -> _Costs:
        now_ms = self._clock.now_ms()
        costs: _Costs = []
        if (most := self._per_endpoint.get(verb)) is not None:
            costs.append((self._of_endpoint(principal.tenant, self.name_of(endpoint_id), verb, most, now_ms), 1))
        if (per_minute := principal.requests_per_minute) is not None and verb not in FREE_VERBS:
            costs.append((self._of_key(principal.key_id, "requests/min", per_minute, _MINUTE_MS, now_ms), 1))
        if (per_day := principal.characters_per_day) is not None and characters:
            costs.append((self._of_key(principal.key_id, PER_DAY, per_day, _DAY_MS, now_ms), characters))
        return costs

    def _of_key(self, key_id: str, name: str, limit: int, length_ms: int, now_ms: int) -> Window:
        window = self._keys.get((key_id, length_ms))
        if window is None or not window.fits(limit, now_ms):
            window = self._keys[key_id, length_ms] = Window(key_id, name, limit, length_ms, now_ms)
        return window

    def _of_endpoint(self, tenant: str, endpoint_id: str, verb: str, limit: int, now_ms: int) -> Window:
        # Per tenant: a burst of one tenant must not lock another out of an endpoint that both use.
        window = self._endpoints.get((tenant, endpoint_id, verb))
        if window is None or not window.fits(limit, now_ms):
            if len(self._endpoints) >= _MAX_WINDOWS:
                self._endpoints = {name: window for name, window in self._endpoints.items() if window.end_ms > now_ms}
            window = Window(f"{tenant}/{endpoint_id}", f"{verb}/10s", limit, _TEN_SECONDS_MS, now_ms)
            self._endpoints[tenant, endpoint_id, verb] = window
        return window

    def _refusal(self, window: Window, cost: int) -> TooManyRequests:
        retry_after_s = max(1, math.ceil((window.end_ms - self._clock.now_ms()) / 1000))
        if window.length_ms == _DAY_MS:
            left = max(0, window.free + window.left)
            what = f"this key may have {window.limit} characters spoken per day; {left} are left, {cost} were asked for"
        elif window.length_ms == _MINUTE_MS:
            what = f"this key may make {window.limit} requests per minute"
        else:
            verb = window.name.partition("/")[0]
            what = f"this endpoint takes {window.limit} /{verb} requests per 10 seconds"
            if window.subject.endswith(f"/{ON_DEMAND}"):
                what = (
                    f"endpoints that were not created take {window.limit} /{verb} requests per 10 seconds together "
                    "(`voxgate endpoints create` creates one)"
                )
        return TooManyRequests(f"{what}; try again in {retry_after_s} s", float(retry_after_s))

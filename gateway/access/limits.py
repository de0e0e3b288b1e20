"""How much a key or an endpoint may ask for, shared by all servers.

A limit is a count in a window of fixed length, aligned to UTC. What all servers together have taken of it stands in
SQL. Of a limit below `COUNTED_AT_ONCE` a request takes its cost there before it is let in: such a limit is exact. Of a
larger one each server takes shares, ahead of need, and counts in memory: servers together never pass it, and may stop
short of it by what the others have of their shares.

While SQL cannot be asked each server holds each limit by itself: what is in memory can still be answered.

Endpoints that work without anybody having made them share the limits of one: else a caller would pass a limit, and
fill the database with windows, by making up names.
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
"""RunPod's figures per endpoint, as documented on 2026-11-22; verbs it does not name are not limited."""

WATCHING: Final = frozenset({"status", "status-sync", "stream", "cancel", "health", "endpoint", "requests", "audio"})
"""Verbs that do not count as requests of a key: looking after a job is no new work."""

ON_DEMAND: Final = "on_demand"
"""Stands for every endpoint that nobody made, in limits and in metrics."""
PER_DAY: Final = "characters/day"

_MINUTE_MS = 60_000
_DAY_MS = 86_400_000
_TEN_SECONDS_MS = 10_000
COUNTED_AT_ONCE: Final = 1000
"""Limits below it are counted in SQL, request by request."""
SHARES: Final = 50
"""A larger limit is taken in about so many parts."""
_MOST_WINDOWS = 4096
_RETRY_S = 1.0


class Window:
    """One limit in one window of time: what this server has taken of it, and what it has used."""

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
        self.share = 0 if limit < COUNTED_AT_ONCE else limit // SHARES
        """How much to take beyond what is needed now."""
        self.length_ms = length_ms
        self.start_ms = now_ms - now_ms % length_ms
        self.end_ms = self.start_ms + length_ms
        self.taken = self.used = 0
        self.left = limit
        """The most that SQL may still have: it only gets less."""
        self.wanted = False
        """Whether a share is being taken ahead of need."""

    @property
    def free(self) -> int:
        """Units taken and not used yet; negative once more was used while SQL could not be asked."""
        return self.taken - self.used

    def fits(self, limit: int, now_ms: int) -> bool:
        """Whether this is the window of now. Not after the wall clock went back: SQL knows what that one has given."""
        return self.limit == limit and self.start_ms <= now_ms < self.end_ms

    def ask(self, need: int, more: int) -> Share:
        """Build the request for a share of this window."""
        return Share(self.subject, self.name, self.start_ms, need, more, self.limit)


_Costs: TypeAlias = list[tuple[Window, int]]


class Limits:
    """Every limit of this server.

    Args:
        take_shares: takes parts of shared limits.
        per_endpoint: requests per 10 s and verb for each endpoint; empty for none.
    """

    def __init__(self, take_shares: TakeShares, clock: Clock, per_endpoint: dict[str, int]) -> None:
        self._take_shares = take_shares
        self._clock = clock
        self._per_endpoint = per_endpoint
        self.name_of: Callable[[str], str] = str
        """The name under which an endpoint's requests are counted: `Endpoints.label`."""
        self._keys: dict[tuple[str, int], Window] = {}
        self._endpoints: dict[tuple[str, str, str], Window] = {}
        self._waiting: list[Window] = []
        self._wake = asyncio.Event()
        self._away = False
        """Whether SQL could not be asked when it was asked last."""

    async def admit(self, principal: Principal, endpoint_id: str, verb: str, characters: int = 0) -> None:
        """Let a request in and count it, or refuse it and count nothing.

        Args:
            characters: of the text to be spoken; 0 for requests without one.

        Raises:
            TooManyRequests: says which limit, and when trying again can help.
        """
        while not self.admit_now(principal, endpoint_id, verb, characters):
            if await self._take(self._costs(principal, endpoint_id, verb, characters)):
                return

    def admit_now(self, principal: Principal, endpoint_id: str, verb: str, characters: int = 0) -> bool:
        """As `admit`, from memory alone.

        Returns:
            False, and nothing is counted, where SQL has to be asked: `admit` does.
        """
        if principal.requests_per_minute is None and principal.characters_per_day is None and not self._per_endpoint:
            return True
        costs = self._costs(principal, endpoint_id, verb, characters)
        for window, cost in costs:
            if cost > window.free + window.left:
                raise self._refusal(window, cost)
        if not self._away and any(cost > window.free for window, cost in costs):
            return False
        for window, cost in costs:
            window.used += cost
            if self._away or (window.share and window.left and window.free <= window.share // 2):
                self._take_soon(window)
        return True

    async def run(self) -> None:
        """Take shares ahead of need, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            windows, self._waiting = self._waiting, []
            await asyncio.gather(*(self._take_ahead(window) for window in windows))
            if self._away:
                await self._clock.sleep(_RETRY_S)

    async def _take(self, costs: _Costs) -> bool:
        """Take in SQL what a request needs beyond what is free here.

        Returns:
            Whether it is let in. If not, another look at the windows says why, or that SQL cannot be asked.
        """
        held = [(window, max(0, min(cost, window.free))) for window, cost in costs]
        needs = [cost - free for (_, cost), (_, free) in zip(costs, held, strict=True)]
        asked = [window.ask(need, window.share if need else 0) for (window, _), need in zip(costs, needs, strict=True)]
        for window, free in held:
            window.used += free  # nobody else may use it meanwhile
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
        """What SQL gives; None where it cannot be asked."""
        try:
            taken = await self._take_shares(shares)
        except StorageError as error:
            self._away = True
            log.warning("limit not shared", windows=[share.window for share in shares], error=error)
            return None
        except Exception:  # a defect, too, is no reason to refuse everybody
            self._away = True
            log.exception("limit not shared", windows=[share.window for share in shares])
            return None
        self._away = False
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
        if (per_minute := principal.requests_per_minute) is not None and verb not in WATCHING:
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
        # Per tenant: one tenant's burst must not shut another out of an endpoint both use.
        window = self._endpoints.get((tenant, endpoint_id, verb))
        if window is None or not window.fits(limit, now_ms):
            if len(self._endpoints) >= _MOST_WINDOWS:
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
                    f"endpoints that nobody made take {window.limit} /{verb} requests per 10 seconds together "
                    "(`voxgate endpoints create` makes one)"
                )
        return TooManyRequests(f"{what}; try again in {retry_after_s} s", float(retry_after_s))

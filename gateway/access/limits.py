"""How much a key or an endpoint may ask for, decided in memory, shared by all servers.

A limit is a count in a window of fixed length, aligned to UTC. Each server counts in memory and leases shares of
the window's limit from SQL in the background, ahead of need. The first requests of a window are let in before its
first lease has come back, so several servers together may pass a limit by what arrives during one round trip to
the database; one server alone never passes it.

Endpoints that work without anybody having made them share the limits of one: else a caller would pass a limit, and
fill the database with windows, by making up names.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from gateway.access.principal import Principal
from gateway.clock import Clock
from gateway.errors import TooManyRequests
from gateway.settings.logs import get_logger
from storage.errors import StorageError

log = get_logger(__name__)

TakeShare: TypeAlias = Callable[[str, str, int, int, int], Awaitable[int]]
"""`UsageStore.take_share(key_id, window, start_ms, want, limit)`."""

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
_SHARES = 20  # a window's limit is leased in about this many parts
_MOST_WINDOWS = 4096
_RETRY_S = 1.0


class Window:
    """One limit in its present window of time: what was granted to this server, and what it has used."""

    __slots__ = (
        "end_ms",
        "exhausted",
        "granted",
        "leasing",
        "length_ms",
        "limit",
        "name",
        "start_ms",
        "subject",
        "used",
    )

    def __init__(self, subject: str, name: str, limit: int, length_ms: int) -> None:
        self.subject = subject
        self.name = name
        self.limit = limit
        self.length_ms = length_ms
        self.start_ms = self.end_ms = 0
        self.granted = self.used = 0
        self.exhausted = self.leasing = False

    def has_room(self, cost: int, now_ms: int) -> bool:
        """Whether `cost` more fits, as far as this server knows."""
        if not self.start_ms <= now_ms < self.end_ms:
            # Also when the wall clock went back: SQL knows what that window has already given.
            self.start_ms = now_ms - now_ms % self.length_ms
            self.end_ms = self.start_ms + self.length_ms
            self.granted = self.used = 0
            self.exhausted = False
        after = self.used + cost
        return after <= self.limit and (after <= self.granted or not self.exhausted)

    def missing(self) -> int:
        """How much to lease now; 0 while what was granted lasts."""
        share = self.limit // _SHARES
        if self.exhausted or self.granted - self.used > share // 2:
            return 0
        return max(0, min(self.used - self.granted + share, self.limit - self.granted))


class Limits:
    """Every limit of this server.

    Args:
        take_share: leases part of a shared limit.
        per_endpoint: requests per 10 s and verb for each endpoint; empty for none.
    """

    def __init__(self, take_share: TakeShare, clock: Clock, per_endpoint: dict[str, int]) -> None:
        self._take_share = take_share
        self._clock = clock
        self._per_endpoint = per_endpoint
        self.name_of: Callable[[str], str] = str
        """The name under which an endpoint's requests are counted: `Endpoints.label`."""
        self._keys: dict[tuple[str, int], Window] = {}
        self._endpoints: dict[tuple[str, str, str], Window] = {}
        self._waiting: list[Window] = []
        self._wake = asyncio.Event()

    def admit(self, principal: Principal, endpoint_id: str, verb: str, characters: int = 0) -> None:
        """Let a request in and count it, or refuse it and count nothing.

        Args:
            characters: of the text to be spoken; 0 for requests without one.

        Raises:
            TooManyRequests: says which limit, and when trying again can help.
        """
        per_minute = principal.requests_per_minute
        per_day = principal.characters_per_day
        if per_minute is None and per_day is None and not self._per_endpoint:
            return
        now_ms = self._clock.now_ms()
        costs: list[tuple[Window, int]] = []
        if (most := self._per_endpoint.get(verb)) is not None:
            costs.append((self._of_endpoint(principal.tenant, self.name_of(endpoint_id), verb, most, now_ms), 1))
        if per_minute is not None and verb not in WATCHING:
            costs.append((self._of_key(principal.key_id, "requests/min", per_minute, _MINUTE_MS), 1))
        if per_day is not None and characters:
            costs.append((self._of_key(principal.key_id, PER_DAY, per_day, _DAY_MS), characters))
        for window, cost in costs:
            if not window.has_room(cost, now_ms):
                raise self._refusal(window, cost, now_ms)
        for window, cost in costs:
            window.used += cost
            if not window.leasing and window.missing():
                self._lease_soon(window)

    async def run(self) -> None:
        """Lease shares as they are needed, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            windows, self._waiting = self._waiting, []
            outcomes = await asyncio.gather(*(self._lease(window) for window in windows))
            if not all(outcomes):
                # Until the database is back each server holds the limit by itself.
                await self._clock.sleep(_RETRY_S)

    async def _lease(self, window: Window) -> bool:
        start_ms, want = window.start_ms, window.missing()
        try:
            if want:
                granted = await self._take_share(window.subject, window.name, start_ms, want, window.limit)
                if window.start_ms == start_ms:
                    window.granted += granted
                    window.exhausted = granted < want
        except StorageError as error:
            log.warning("limit not shared", window=window.name, error=error)
            return False
        except Exception:  # leasing goes on for the other limits
            log.exception("limit not shared", window=window.name)
            return False
        finally:
            window.leasing = False
        if window.missing():
            self._lease_soon(window)
        return True

    def _lease_soon(self, window: Window) -> None:
        window.leasing = True
        self._waiting.append(window)
        self._wake.set()

    def _of_key(self, key_id: str, name: str, limit: int, length_ms: int) -> Window:
        window = self._keys.get((key_id, length_ms))
        if window is None:
            window = self._keys[key_id, length_ms] = Window(key_id, name, limit, length_ms)
        window.limit = limit
        return window

    def _of_endpoint(self, tenant: str, endpoint_id: str, verb: str, limit: int, now_ms: int) -> Window:
        # Per tenant: one tenant's burst must not shut another out of an endpoint both use.
        window = self._endpoints.get((tenant, endpoint_id, verb))
        if window is None:
            if len(self._endpoints) >= _MOST_WINDOWS:
                self._endpoints = {name: window for name, window in self._endpoints.items() if window.end_ms > now_ms}
            window = Window(f"{tenant}/{endpoint_id}", f"{verb}/10s", limit, _TEN_SECONDS_MS)
            self._endpoints[tenant, endpoint_id, verb] = window
        return window

    def _refusal(self, window: Window, cost: int, now_ms: int) -> TooManyRequests:
        retry_after_s = max(1, math.ceil((window.end_ms - now_ms) / 1000))
        if window.length_ms == _DAY_MS:
            left = max(0, (window.granted if window.exhausted else window.limit) - window.used)
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

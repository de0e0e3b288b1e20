"""Access: checks keys, scopes and limits from memory, and records usage."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable

from gateway.access.first_key import make_first_key
from gateway.access.in_flight import RUNPOD_AT_ONCE, InFlight
from gateway.access.keys import Keys, principal_of
from gateway.access.limits import PER_DAY, RUNPOD_PER_10_S, Limits
from gateway.access.principal import SCOPES, Principal, require
from gateway.access.usage import UsageRecorder
from gateway.clock import Clock
from gateway.errors import Unauthorized
from gateway.periodic import Periodic, attempt
from gateway.settings import Settings
from storage.db.database import Database
from storage.keys import KeyStore
from storage.records import JobRecord, UsageDelta
from storage.usage import UsageStore

SETTINGS_KEY_ID = "settings"
"""The key id of VOXGATE_API_KEY in jobs and usage."""

_POLL_S = 0.5  # a revoked key is refused on every server within a second
_FLUSH_S = 1.0
_TOUCH_S = 60.0
_PRUNE_AFTER_MS = 600_000
_PRUNE_DAYS_AFTER_MS = 2 * 86_400_000
_NEVER = 1 << 62


class Access:
    """The keys, limits and usage of one server.

    Args:
        database: open and migrated.
    """

    def __init__(self, database: Database, settings: Settings, clock: Clock) -> None:
        self.keys = Keys(KeyStore(database), clock)
        self.usage_store = UsageStore(database)
        self._store = KeyStore(database)
        self._settings = settings
        self._clock = clock
        self._usage = UsageRecorder(self.usage_store)
        as_runpod = settings.limits == "runpod"
        self._limits = Limits(self.usage_store.take_shares, clock, RUNPOD_PER_10_S if as_runpod else {})
        self.admit, self.admit_now = self._limits.admit, self._limits.admit_now
        self._in_flight = InFlight(RUNPOD_AT_ONCE if as_runpod else {})
        self.enter = self._in_flight.enter
        self.note_usage: Callable[[JobRecord, UsageDelta], None] = self._usage.note
        self._known: dict[str, tuple[bytes, int, Principal]] = {}
        self._own = b""
        self._own_principal = Principal(SETTINGS_KEY_ID, "default", frozenset(SCOPES))
        if settings.api_key is not None:
            self._own = _digest(settings.api_key)
        self._mark = -1
        self._version = -1
        self._used: set[str] = set()
        self._limits_task: asyncio.Task[None] | None = None
        self._periodic = Periodic(clock)
        self._keys_changed = asyncio.Event()

    async def start(self, *, first_key: bool = True) -> None:
        """Load the keys, make the first one if there is none, and start the background tasks.

        Args:
            first_key: False where no request comes from outside, as in `voxgate say` without a server.
        """
        if first_key:
            await make_first_key(self.keys, self._store, self._settings)
        await self.refresh()
        self._limits_task = asyncio.create_task(self._limits.run(), name="limits")
        self._periodic.every(_POLL_S, "keys", self._poll)
        self._periodic.whenever(self._keys_changed, "keys", self.refresh)
        self._periodic.every(_FLUSH_S, "usage", self._usage.flush)
        self._periodic.every(_TOUCH_S, "last use of keys", self._tidy)

    async def stop(self) -> None:
        """Stop the background tasks and write the usage that is only in memory."""
        await self._periodic.stop()
        if self._limits_task is not None:
            self._limits_task.cancel()
            await asyncio.gather(self._limits_task, return_exceptions=True)
        await attempt("usage", self._usage.flush)
        await attempt("last use of keys", self._touch)

    def count_endpoints_by(self, name_of: Callable[[str], str]) -> None:
        """Count requests under the names that `name_of` gives. All on-demand endpoints have the same name."""
        self._limits.name_of = self._in_flight.name_of = name_of

    def keys_changed(self) -> None:
        """Load the keys again soon, because another server has changed them."""
        self._keys_changed.set()

    def authenticate(self, header: str | None) -> Principal:
        """Return the principal of a request's key.

        Args:
            header: the Authorization header: `Bearer KEY`, or the bare key as RunPod's samples send it.

        Raises:
            Unauthorized: the key is missing, unknown, expired or revoked. The message does not say which.
        """
        if not header:
            raise Unauthorized
        key = header[7:].strip() if header[:7].lower() == "bearer " else header.strip()
        digest = _digest(key)
        parts = key.split("_", 3)
        if len(parts) == 4 and (known := self._known.get(parts[2])) is not None:
            expected, expires_ms, principal = known
            if hmac.compare_digest(digest, expected) and self._clock.now_ms() < expires_ms:
                self._used.add(principal.key_id)
                return principal
        if self._own and hmac.compare_digest(digest, self._own):
            return self._own_principal
        raise Unauthorized

    def require(self, principal: Principal, scope: str) -> None:
        """Check that a key has a scope.

        Raises:
            Forbidden: names the missing scope.
        """
        require(principal, scope)

    async def refresh(self) -> None:
        """Load the keys from the database if they changed."""
        mark = await self._store.mark()
        if mark == self._mark:
            return
        self._known = {
            record.id: (
                bytes.fromhex(record.digest),
                _NEVER if record.expires_ms is None else record.expires_ms,
                principal_of(record),
            )
            for record in await self._store.all()
            if record.revoked_ms is None
        }
        # The mark was read before the keys, so a change in between is loaded at the next poll and never missed.
        self._mark = mark

    async def _poll(self) -> None:
        version = await self._store.data_version()
        if version != self._version:
            await self.refresh()
            self._version = version

    async def _tidy(self) -> None:
        await self._touch()
        now_ms = self._clock.now_ms()
        await self.usage_store.prune_windows(now_ms - _PRUNE_AFTER_MS, keep=PER_DAY)
        await self.usage_store.prune_windows(now_ms - _PRUNE_DAYS_AFTER_MS)

    async def _touch(self) -> None:
        used, self._used = self._used, set()
        await self._store.touch(used, self._clock.now_ms())


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()

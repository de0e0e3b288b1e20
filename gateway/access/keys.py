"""API keys: create, rotate and revoke them. A key is shown once; the database keeps only its digest."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from collections.abc import Iterable

import msgspec

from gateway.access.principal import ENVIRONMENTS, SCOPES, Environment, Principal
from gateway.clock import Clock
from gateway.errors import BadRequest, Conflict, NotFound
from gateway.settings.nearest import nearest
from storage.keys import KeyRecord, KeyStore

PREFIX = "vg"
OLD_AFTER_DAYS = 90

_ALPHABET = string.ascii_letters + string.digits
_SECRET_LENGTH = 40  # 62 possible characters each: 238 bits, so a plain SHA-256 is a safe digest
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DAY_MS = 86_400_000
LAST_MS = 253_402_300_799_000
"""The last second of the year 9999, the latest time that calendars and databases can hold."""

MAX_LIMIT = 1_000_000_000_000
"""The highest limit a key may have."""


class NewKey(msgspec.Struct, frozen=True):
    """A new key. `secret` is the whole key: show it once, never store it."""

    secret: str
    record: KeyRecord

    def __repr__(self) -> str:
        """Leave the secret out."""
        return f"NewKey(id={self.record.id!r})"

    __str__ = __repr__


def digest(key: str) -> str:
    """Return the SHA-256 of a whole key, in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def public_id(key: str) -> str | None:
    """Return the id inside `vg_ENV_ID_SECRET`; None if the key does not have that form."""
    parts = key.split("_", 3)
    return parts[2] if len(parts) == 4 and parts[0] == PREFIX else None


def principal_of(record: KeyRecord) -> Principal:
    """Build the principal of requests that carry this key."""
    return Principal(
        key_id=record.id,
        tenant=record.tenant,
        scopes=frozenset(record.scopes.split()),
        requests_per_minute=record.requests_per_minute,
        characters_per_day=record.characters_per_day,
    )


def state_of(record: KeyRecord, now_ms: int) -> str:
    """Return the key's state: `active`, `expired` or `revoked`."""
    if record.revoked_ms is not None:
        return "revoked"
    return "expired" if record.expires_ms is not None and record.expires_ms <= now_ms else "active"


def is_old(record: KeyRecord, now_ms: int) -> bool:
    """Return whether an active key was made more than 90 days ago and should be rotated."""
    return state_of(record, now_ms) == "active" and now_ms - record.created_ms > OLD_AFTER_DAYS * _DAY_MS


class Keys:
    """The keys of one database. Works without a running server."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def list(self, tenant: str | None = None) -> list[KeyRecord]:
        """Return every key, oldest first, or only those of one tenant."""
        return [record for record in await self._store.all() if tenant in (None, record.tenant)]

    async def create(
        self,
        *,
        tenant: str = "default",
        env: Environment = "dev",
        scopes: Iterable[str] = ("speak",),
        name: str = "",
        expires_ms: int | None = None,
        requests_per_minute: int | None = None,
        characters_per_day: int | None = None,
    ) -> NewKey:
        """Make a key.

        Args:
            name: for people; not unique.
            expires_ms: when the key expires, in UTC milliseconds; None: never.

        Raises:
            BadRequest: the tenant, environment, a scope, the expiry or a limit is not valid.
        """
        new = self.draft(
            tenant=tenant,
            env=env,
            scopes=scopes,
            name=name,
            expires_ms=expires_ms,
            requests_per_minute=requests_per_minute,
            characters_per_day=characters_per_day,
        )
        await self._store.insert(new.record)
        return new

    def draft(
        self,
        *,
        tenant: str = "default",
        env: Environment = "dev",
        scopes: Iterable[str] = ("speak",),
        name: str = "",
        expires_ms: int | None = None,
        requests_per_minute: int | None = None,
        characters_per_day: int | None = None,
        rotated_from: str | None = None,
    ) -> NewKey:
        """Make and check a key without storing it; see `create`."""
        scopes = tuple(dict.fromkeys(scopes))
        now = self._clock.now_ms()
        _check(tenant, env, scopes)
        if expires_ms is not None and expires_ms <= now:
            raise BadRequest("the key would be expired from the start: choose an expiry in the future")
        if expires_ms is not None and expires_ms > LAST_MS:
            raise BadRequest("the key would expire after the year 9999: leave the expiry out for a key without one")
        for what, limit in (("requests per minute", requests_per_minute), ("characters per day", characters_per_day)):
            if limit is not None and not 1 <= limit <= MAX_LIMIT:
                raise BadRequest(f"{what} must be between 1 and {MAX_LIMIT}, got {limit}; leave it out for no limit")
        key_id = secrets.token_hex(8)
        secret = f"{PREFIX}_{env}_{key_id}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
        record = KeyRecord(
            id=key_id,
            digest=digest(secret),
            tenant=tenant,
            env=env,
            scopes=" ".join(scopes),
            name=name,
            created_ms=now,
            expires_ms=expires_ms,
            requests_per_minute=requests_per_minute,
            characters_per_day=characters_per_day,
            rotated_from=rotated_from,
        )
        return NewKey(secret, record)

    async def rotate(self, key_id: str, overlap_s: float = 86_400.0) -> NewKey:
        """Replace a key by a new one with the same tenant, scopes and limits.

        The old key works for `overlap_s` more seconds. If the old key was made with an expiry, the new one lives as
        long as the old one was meant to live; otherwise it does not expire.

        Raises:
            NotFound: no such key.
            Conflict: the key is revoked or expired.
        """
        old = await self._find(key_id)
        now = self._clock.now_ms()
        if (state := state_of(old, now)) != "active":
            raise Conflict(f"key {key_id} is {state} and cannot be rotated; create a new one")
        if overlap_s < 0:
            raise BadRequest(f"the overlap must not be negative, got {overlap_s:g} s")
        if overlap_s * 1000 > LAST_MS - now:
            raise BadRequest("the overlap would end after the year 9999: choose a shorter one")
        new = self.draft(
            tenant=old.tenant,
            env=_environment(old.env),
            scopes=old.scopes.split(),
            name=old.name,
            expires_ms=None if old.expires_ms is None else min(LAST_MS, now + (old.expires_ms - old.created_ms)),
            requests_per_minute=old.requests_per_minute,
            characters_per_day=old.characters_per_day,
            rotated_from=old.id,
        )
        if not await self._store.rotate(old.id, new.record, now + round(overlap_s * 1000)):
            raise Conflict(f"key {key_id} was revoked in the meantime; create a new one")
        return new

    async def revoke(self, key_id: str) -> KeyRecord:
        """Revoke a key. Every server refuses it within a second. Revoking a key twice is no error.

        Raises:
            NotFound: no such key.
        """
        record = await self._store.revoke(_id_of(key_id), self._clock.now_ms())
        if record is None:
            raise NotFound(f"no key {_id_of(key_id)}; see: voxgate keys list")
        return record

    async def _find(self, key_id: str) -> KeyRecord:
        record = await self._store.get(_id_of(key_id))
        if record is None:
            raise NotFound(f"no key {_id_of(key_id)}; see: voxgate keys list")
        return record


def _id_of(given: str) -> str:
    """Return the key id, also from a whole key. Users paste whole keys, and a message must not repeat the secret."""
    return public_id(given) or given


def _environment(env: str) -> Environment:
    return next(known for known in ENVIRONMENTS if known == env)


def _check(tenant: str, env: str, scopes: tuple[str, ...]) -> None:
    if not _TENANT.fullmatch(tenant):
        raise BadRequest("a tenant is 1 to 64 letters, digits, dots, hyphens or underscores, a letter or digit first")
    if env not in ENVIRONMENTS:
        raise BadRequest(f"unknown environment {env!r}: choose one of {', '.join(ENVIRONMENTS)}")
    for scope in scopes:
        if scope not in SCOPES:
            meant = nearest(scope, SCOPES)
            raise BadRequest(
                f"unknown scope {scope!r}"
                + (f": did you mean {meant}?" if meant else f": known are {', '.join(SCOPES)}")
            )
    if not scopes:
        raise BadRequest(f"a key without a scope can do nothing: choose from {', '.join(SCOPES)}")

"""Keeps the pronunciation dictionaries of tenants in memory; reads them again after a change."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from gateway.clock import Clock
from gateway.errors import Conflict, InvalidInput, NotFound
from gateway.speech.text.lexicon import (
    ANY,
    MAX_ENTRIES,
    Lexicon,
    Pronunciation,
    checked,
    for_language,
    identity,
)
from storage.pronunciations import DictionaryRecord, PronunciationStore

_TRIES = 8
_LEXICONS_KEPT = 64
_decode = msgspec.json.Decoder(tuple[Pronunciation, ...]).decode


class Dictionary(msgspec.Struct, frozen=True):
    """A tenant's pronunciation dictionary; `version` is 0 at first and grows by one with every change."""

    version: int = 0
    updated_ms: int = 0
    entries: tuple[Pronunciation, ...] = ()


class Pronunciations:
    """Reads and changes dictionaries by tenant.

    Args:
        on_change: called when a dictionary has changed.
    """

    def __init__(self, store: PronunciationStore, clock: Clock, on_change: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._clock = clock
        self._on_change = on_change
        self._dictionaries: dict[str, Dictionary] = {}
        self._lexicons: dict[tuple[str, int, str], Lexicon] = {}
        self._mark = -1

    async def refresh(self) -> bool:
        """Read the dictionaries that were written since the last call; return whether there were any."""
        mark = await self._store.mark()
        if mark == self._mark:
            return False
        versions = await self._store.versions()
        newer = [tenant for tenant, version in versions.items() if version != self.get(tenant).version]
        for record in await self._store.get_many(newer):
            self._remember(record.tenant, _read(record))
        self._mark = mark
        if newer:
            self._on_change()
        return bool(newer)

    def get(self, tenant: str) -> Dictionary:
        """Return a tenant's dictionary from memory."""
        return self._dictionaries.get(tenant, Dictionary())

    def has_any(self, tenant: str) -> bool:
        """Return whether the tenant's dictionary has entries."""
        return bool(self.get(tenant).entries)

    def lexicon(self, tenant: str, language: str) -> Lexicon | None:
        """Return the entries of the tenant's dictionary for a language; None if there are none."""
        dictionary = self.get(tenant)
        if not dictionary.entries:
            return None
        key = (tenant, dictionary.version, language)
        lexicon = self._lexicons.get(key)
        if lexicon is None:
            if len(self._lexicons) >= _LEXICONS_KEPT:
                self._lexicons.clear()
            lexicon = self._lexicons[key] = for_language(dictionary.entries, language)
        return lexicon if lexicon.entries else None

    async def set(
        self, tenant: str, entries: Iterable[Pronunciation], *, replace: bool = False, version: int | None = None
    ) -> Dictionary:
        """Add entries and change those of the same words and language; with `replace`, remove all others.

        Args:
            version: the version the caller has read; None accepts any.

        Raises:
            InvalidInput: an entry is wrong, or the dictionary would have more than MAX_ENTRIES.
            Conflict: the dictionary has another version.
        """
        wanted = {identity(entry): entry for entry in map(checked, entries)}

        def change(old: Dictionary) -> tuple[Pronunciation, ...]:
            if version is not None and version != old.version:
                raise Conflict(f"the dictionary has version {old.version} now, not {version}: read it again")
            kept = {} if replace else {identity(entry): entry for entry in old.entries}
            new = tuple((kept | wanted).values())
            if len(new) > MAX_ENTRIES:
                raise InvalidInput(f"a dictionary has at most {MAX_ENTRIES} entries, these would be {len(new)}")
            return new

        return await self._write(tenant, change)

    async def remove(self, tenant: str, phrase: str, language: str = ANY) -> Dictionary:
        """Remove an entry.

        Raises:
            InvalidInput: the phrase is empty, or the language is no tag.
            NotFound: there is no such entry; names the languages that have one.
        """
        meant = checked(Pronunciation(phrase, "x", language))

        def change(old: Dictionary) -> tuple[Pronunciation, ...]:
            new = tuple(entry for entry in old.entries if identity(entry) != identity(meant))
            if len(new) == len(old.entries):
                same = identity(meant)[1:]
                others = ", ".join(repr(entry.language) for entry in old.entries if identity(entry)[1:] == same)
                hint = f"; there is one for {others}" if others else ""
                raise NotFound(f"there is no entry for {meant.phrase!r} with language {meant.language!r}{hint}")
            return new

        return await self._write(tenant, change)

    async def clear(self, tenant: str) -> Dictionary:
        """Remove every entry."""
        return await self._write(tenant, lambda old: ())

    async def _write(self, tenant: str, change: Callable[[Dictionary], tuple[Pronunciation, ...]]) -> Dictionary:
        for _ in range(_TRIES):
            # From the database and not from memory, since another server may have changed it a moment ago.
            records = await self._store.get_many([tenant])
            old = _read(records[0]) if records else Dictionary()
            entries = change(old)
            if entries == old.entries:
                self._remember(tenant, old)
                return old
            now = self._clock.now_ms()
            document = msgspec.json.encode(entries).decode()
            if await self._store.put(tenant, old.version, document, now):
                new = Dictionary(old.version + 1, now, entries)
                self._remember(tenant, new)
                self._on_change()
                return new
        raise Conflict("other requests keep changing the dictionary: try again")

    def _remember(self, tenant: str, dictionary: Dictionary) -> None:
        if dictionary.version >= self.get(tenant).version:  # `refresh` may have read it before our last change
            self._dictionaries[tenant] = dictionary


def _read(record: DictionaryRecord) -> Dictionary:
    return Dictionary(record.version, record.updated_ms, _decode(record.entries))

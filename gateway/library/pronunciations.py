"""The pronunciation dictionaries of tenants: in memory on every server, read again when one of them was written."""

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
    """A tenant's pronunciation dictionary; `version` is one more after every change, 0 before the first."""

    version: int = 0
    updated_ms: int = 0
    entries: tuple[Pronunciation, ...] = ()


class Pronunciations:
    """Dictionaries by tenant."""

    def __init__(self, store: PronunciationStore, clock: Clock, on_change: Callable[[], None] = lambda: None) -> None:
        """`on_change` is called when a dictionary is another one than before."""
        self._store = store
        self._clock = clock
        self._on_change = on_change
        self._dictionaries: dict[str, Dictionary] = {}
        self._lexicons: dict[tuple[str, int, str], Lexicon] = {}
        self._mark = -1

    async def refresh(self) -> bool:
        """Read the dictionaries that were written since; whether there were any."""
        mark = await self._store.mark()
        if mark == self._mark:
            return False
        versions = await self._store.versions()
        newer = [tenant for tenant, version in versions.items() if version != self.get(tenant).version]
        for record in await self._store.get_many(newer):
            self._keep(record.tenant, _read(record))
        self._mark = mark
        if newer:
            self._on_change()
        return bool(newer)

    def get(self, tenant: str) -> Dictionary:
        """A tenant's dictionary, as this server knows it."""
        return self._dictionaries.get(tenant, Dictionary())

    def has_any(self, tenant: str) -> bool:
        """Whether the tenant's texts have to be searched at all."""
        return bool(self.get(tenant).entries)

    def lexicon(self, tenant: str, language: str) -> Lexicon | None:
        """What of the tenant's dictionary holds for a language; None where nothing does."""
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
        """Add entries, change those of the same words and language, or with `replace` have these and no others.

        Args:
            version: the version the caller has seen; None takes any.

        Raises:
            InvalidInput: an entry is wrong, or there would be more than MAX_ENTRIES.
            Conflict: the dictionary has another version.
        """
        wanted = {identity(entry): entry for entry in map(checked, entries)}

        def change(old: Dictionary) -> tuple[Pronunciation, ...]:
            if version is not None and version != old.version:
                raise Conflict(f"the dictionary has version {old.version} by now, not {version}: read it again")
            kept = {} if replace else {identity(entry): entry for entry in old.entries}
            new = tuple((kept | wanted).values())
            if len(new) > MAX_ENTRIES:
                raise InvalidInput(f"a dictionary holds at most {MAX_ENTRIES} entries, these would be {len(new)}")
            return new

        return await self._write(tenant, change)

    async def remove(self, tenant: str, phrase: str, language: str = ANY) -> Dictionary:
        """Take an entry out.

        Raises:
            InvalidInput: no phrase, or a language that is none.
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
        """Take every entry out."""
        return await self._write(tenant, lambda old: ())

    async def _write(self, tenant: str, change: Callable[[Dictionary], tuple[Pronunciation, ...]]) -> Dictionary:
        for _ in range(_TRIES):
            # From the database, not from memory: another server may have written a moment ago.
            records = await self._store.get_many([tenant])
            old = _read(records[0]) if records else Dictionary()
            entries = change(old)
            if entries == old.entries:
                self._keep(tenant, old)
                return old
            now = self._clock.now_ms()
            document = msgspec.json.encode(entries).decode()
            if await self._store.put(tenant, old.version, document, now):
                new = Dictionary(old.version + 1, now, entries)
                self._keep(tenant, new)
                self._on_change()
                return new
        raise Conflict("the dictionary is being changed by others all the time: try again")

    def _keep(self, tenant: str, dictionary: Dictionary) -> None:
        if dictionary.version >= self.get(tenant).version:  # a look may have begun before a change we made meanwhile
            self._dictionaries[tenant] = dictionary


def _read(record: DictionaryRecord) -> Dictionary:
    return Dictionary(record.version, record.updated_ms, _decode(record.entries))

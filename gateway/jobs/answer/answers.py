"""Looks up finished audio: the in-memory tier, then SQL and the audio store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache

import msgspec

from gateway.cache.hot import HotTier, held_by
from gateway.clock import Clock
from gateway.jobs.model.output import CacheEntry, split_audio, suffix_of
from gateway.settings import Settings
from storage.cache_entries import CacheStore
from storage.errors import BlobMissing
from storage.files.audio import AudioStore

SHORT_BYTES = 1 << 18
"""Audio up to this size is always read: it costs no more than to check that its file exists."""

OVERHEAD_BYTES = 512
"""Memory of a hot-tier entry besides its audio."""


class Answers:
    """Finds finished audio and puts it into answers. Used only on the event loop.

    Attributes:
        audio: the store of the audio.
    """

    def __init__(
        self, settings: Settings, cache: CacheStore, audio: AudioStore, sign: Callable[[str, int], str], clock: Clock
    ) -> None:
        self._cache = cache
        self.audio = audio
        self._sign = lru_cache(1024)(sign)
        self._clock = clock
        self._max_inline = settings.max_inline_bytes
        self._url_ttl_s = settings.audio_url_ttl_s
        self._public_url = (settings.public_url or "").rstrip("/")
        self._entries: HotTier[CacheEntry] = HotTier(settings.cache.hot_bytes // 8)
        self._base64: HotTier[bytes] = HotTier(settings.cache.hot_bytes - settings.cache.hot_bytes // 8)
        self._used: dict[str, int] = {}
        self._mark = 0
        self._looks = 0

    @property
    def hot_bytes(self) -> int:
        """Bytes held by the in-memory tier."""
        return self._entries.size_bytes + self._base64.size_bytes

    def hot(self, key: str) -> tuple[CacheEntry, bytes] | None:
        """Return an entry and its base64, if both are in memory. Callers that answer with it call `note_used`."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        encoded = self._base64.get(entry.blob_hash)
        return None if encoded is None else (entry, encoded)

    async def find(self, key: str, *, read: bool = True) -> tuple[CacheEntry, bytes | None] | None:
        """Return the entry of this key and its base64 (see `encoded`), or None if it or its file is missing.

        Callers that answer with it call `note_used`.

        Args:
            read: False if the answer is not sent now: long audio is then not read.
        """
        looks = self._looks
        entry = self._entries.get(key)
        if entry is None:
            record = await self._cache.get(key)
            if record is None:
                return None
            output = record.output.encode()
            entry = CacheEntry(key, output, record.blob_hash, suffix_of(output), record.size_bytes)
        try:
            if read or entry.size_bytes <= SHORT_BYTES:
                encoded = await self.encoded(entry.blob_hash, entry.suffix)
            else:
                await self.audio.size(entry.blob_hash)
                encoded = None
        except BlobMissing:
            # The file was removed or damaged. The caller speaks the text again and replaces the entry.
            self._entries.drop(key)
            return None
        if looks == self._looks:  # else the entry may have been deleted since it was read
            self._entries.put(key, entry, held_by(key, entry.output, entry.blob_hash) + OVERHEAD_BYTES)
        return entry, encoded

    async def encoded(self, blob_hash: str, suffix: str) -> bytes | None:
        """Return audio as base64; None if it is larger than `max_inline_bytes`.

        Raises:
            BlobMissing: the file is missing or damaged.
        """
        found = self._base64.get(blob_hash)
        if found is None:
            found = await self.audio.read_base64(blob_hash, suffix, self._max_inline)
            if found is None:
                return None
            self._base64.put(blob_hash, found, held_by(blob_hash, found) + OVERHEAD_BYTES)
        return found

    async def may_be_inline(self, blob_hash: str) -> bool:
        """Return whether audio is not larger than `max_inline_bytes`.

        Raises:
            BlobMissing: the file is missing or damaged.
        """
        return await self.audio.size(blob_hash) <= self._max_inline

    async def look(self) -> None:
        """Drop from memory the entries that any process has deleted or replaced since the last look.

        Raises:
            StorageError: the database could not be read; call it again.
        """
        mark = await self._cache.mark()
        if mark == self._mark:
            return
        self._looks += 1
        self.forget(await self._cache.stale({entry.key: entry.blob_hash for _, entry in self._entries.items()}))
        self._mark = mark

    def forget(self, keys: Iterable[str]) -> None:
        """Drop entries that were deleted or replaced, and their audio."""
        for key in keys:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.drop(key)
                self._base64.drop(entry.blob_hash)

    def forget_all(self) -> None:
        """Drop the in-memory tier."""
        self._entries.clear()
        self._base64.clear()

    def note_used(self, key: str) -> None:
        """Count one use of an entry."""
        self._used[key] = self._used.get(key, 0) + 1

    def take_used(self) -> dict[str, int]:
        """Return the number of uses of each key since the last call, for the entries' rows."""
        used, self._used = self._used, {}
        return used

    async def render(
        self, output: bytes, blob_hash: str, inline: bool, base_url: str, encoded: bytes | None = None
    ) -> bytes:
        """Return the output of a job with its audio and address.

        Args:
            inline: whether the caller wants the audio in the answer.
            base_url: `http://host:port` the caller used, for `audio_url`; the setting `public_url` overrides it.
            encoded: the audio as base64, if already read.

        Raises:
            BlobMissing: the audio's file is missing.
        """
        suffix = suffix_of(output)
        if not inline:
            encoded = None
        elif encoded is None:
            encoded = await self.encoded(blob_hash, suffix)
        return self.compose(output, blob_hash, suffix, encoded, base_url, withheld=inline and encoded is None)

    def compose(
        self,
        output: bytes,
        blob_hash: str,
        suffix: str,
        encoded: bytes | None,
        base_url: str,
        *,
        withheld: bool = False,
    ) -> bytes:
        """Join output, audio and address. `withheld` adds the warning that the audio was too large to be inline."""
        if withheld:
            output = _withheld(output, self._max_inline)
        before, after, _ = self.split(output, blob_hash + suffix, base_url, inline=encoded is not None)
        return b"".join((before, encoded or b"", after))

    def split(self, output: bytes, file: str, base_url: str, *, inline: bool) -> tuple[bytes, bytes, int]:
        """Return the answered output before and after its base64, and the wall time in ms from which it would differ.

        The expiry of addresses is rounded up, so that they stay the same for a while and can be cached.
        """
        step = max(1, int(self._url_ttl_s / 16))
        expires = math.ceil((self._clock.now_ms() / 1000 + self._url_ttl_s) / step) * step

        def address(name: str) -> str:
            path = f"/audio/{name}"
            return f"{self._public_url or base_url}{path}?expires={expires}&signature={self._sign(path, expires)}"

        before, after = split_audio(output, address, file, inline=inline)
        return before, after, math.floor((expires - self._url_ttl_s) * 1000) + 1


def _withheld(output: bytes, limit: int) -> bytes:
    data = msgspec.json.decode(output)
    data["warnings"] = [
        *data.get("warnings", []),
        {
            "code": "audio_not_inline",
            "message": f"the audio is larger than max_inline_bytes ({limit}): fetch it from audio_url",
        },
    ]
    return msgspec.json.encode(data)

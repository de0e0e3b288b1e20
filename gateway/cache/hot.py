"""The in-memory (hot) tier of the cache: finished answers that need no database and no file.

Bounded in bytes; the least recently used entry is evicted first. Used only on the event loop.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


LEAST_BYTES = 6_000_000


def beside(hot_bytes: int, share: int) -> int:
    """Return the byte limit of a memo kept beside `hot_bytes` of audio: one part in `share`.

    All shares together are a third, as the setting says: assignments and prepared answers a 16th each, decoded audio
    an 8th, bodies and jobs a 32nd each, translated bodies a 48th. With less than LEAST_BYTES of audio the shares are
    those of LEAST_BYTES (2 MB together), since decoded requests are worth keeping even without audio.
    """
    return max(LEAST_BYTES, hot_bytes) // share


def held_by(*values: str | bytes | None) -> int:
    """Return the bytes that strings and bytes take in memory. One emoji in a string makes every letter four bytes."""
    return sum(map(sys.getsizeof, values))


class HotTier(Generic[V]):
    """An LRU map bounded in bytes; each entry is stored with its size.

    Args:
        max_bytes: upper limit of the sum of sizes; 0 turns the tier off.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._entries: OrderedDict[object, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: object) -> V | None:
        """Return the entry and mark it most recently used, or None."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def items(self) -> list[tuple[object, V]]:
        """Return every key and entry, the least recently used first, without marking them used."""
        return [(key, value) for key, (value, _) in self._entries.items()]

    def put(self, key: object, value: V, size_bytes: int) -> None:
        """Keep an entry; one larger than a quarter of the tier is not kept, since it would evict all others."""
        self.drop(key)
        if size_bytes * 4 > self.max_bytes:
            return
        self._entries[key] = (value, size_bytes)
        self.size_bytes += size_bytes
        while self.size_bytes > self.max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.size_bytes -= freed

    def drop(self, key: object) -> None:
        """Remove an entry, if present."""
        found = self._entries.pop(key, None)
        if found is not None:
            self.size_bytes -= found[1]

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self.size_bytes = 0

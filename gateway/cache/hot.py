"""The in-memory tier: finished answers that need no database and no file.

Bounded in bytes; the least recently used goes first. Only ever touched from the event loop.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


LEAST_BYTES = 6_000_000


def beside(hot_bytes: int, share: int) -> int:
    """How many bytes of what makes answers quick may be kept beside `hot_bytes` of audio: one part in `share`.

    All shares together are a third, as the setting says: assignments and prepared answers a 16th each, decoded audio
    an 8th, bodies and jobs a 32nd each, translated bodies a 48th. A small tier has that of LEAST_BYTES, 2 MB, since
    what was read of requests is worth it without any audio.
    """
    return max(LEAST_BYTES, hot_bytes) // share


def held_by(*values: str | bytes | None) -> int:
    """The bytes that strings and bytes take in memory. A string of ten letters and an emoji takes four a letter."""
    return sum(map(sys.getsizeof, values))


class HotTier(Generic[V]):
    """An LRU map whose entries say how many bytes they hold.

    Args:
        max_bytes: the sum of sizes that is never exceeded; 0 turns the tier off.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._entries: OrderedDict[object, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: object) -> V | None:
        """The entry, now the most recently used, or None."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def items(self) -> list[tuple[object, V]]:
        """Every key and its entry, the least recently used first; none of them counts as used by this."""
        return [(key, value) for key, (value, _) in self._entries.items()]

    def put(self, key: object, value: V, size_bytes: int) -> None:
        """Keep an entry; one larger than a quarter of the tier is not kept, it would push out everything else."""
        self.drop(key)
        if size_bytes * 4 > self.max_bytes:
            return
        self._entries[key] = (value, size_bytes)
        self.size_bytes += size_bytes
        while self.size_bytes > self.max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.size_bytes -= freed

    def drop(self, key: object) -> None:
        """Forget an entry, if it is there."""
        found = self._entries.pop(key, None)
        if found is not None:
            self.size_bytes -= found[1]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.size_bytes = 0

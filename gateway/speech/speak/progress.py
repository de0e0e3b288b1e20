"""Counts the chunks of an utterance whose takes exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable


class ChunkProgress:
    """Counts the chunks of an utterance that are done.

    A chunk is done when its take is stored, or is being stored for another job. Each chunk counts once, even if it is
    spoken again, spoken in pieces, or read several times.

    Args:
        keys: of the takes of all chunks; takes under other keys (of pieces) are not counted.
        counted: called with (chunks done, chunks in total) each time the count grows.
    """

    def __init__(self, keys: Iterable[str], counted: Callable[[int, int], None]) -> None:
        self._left = set(keys)
        self._total = len(self._left)
        self._counted = counted

    def after(self, keys: Iterable[str]) -> tuple[int, int]:
        """Return (chunks done, chunks in total) as they will be when these takes are stored, too."""
        return self._total - len(self._left.difference(keys)), self._total

    def add(self, keys: Iterable[str]) -> None:
        """Count the chunks of these takes as done."""
        before = len(self._left)
        self._left.difference_update(keys)
        if len(self._left) < before:
            self._counted(self._total - len(self._left), self._total)

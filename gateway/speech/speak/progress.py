"""How far an utterance is: its chunks are counted as their takes come to be there, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Progress:
    """Counts the chunks of an utterance that are done.

    A chunk is done once its take is there: stored, or on its way to the store for another job. It is one chunk however
    it was spoken (again, or in pieces), and however often it is read.

    Args:
        keys: of the takes of all its chunks; takes under other keys, as those of pieces, count for nothing.
        counted: called with (chunks done, chunks in all) whenever one more is done.
    """

    def __init__(self, keys: Iterable[str], counted: Callable[[int, int], None]) -> None:
        self._left = set(keys)
        self._total = len(self._left)
        self._counted = counted

    def after(self, keys: Iterable[str]) -> tuple[int, int]:
        """Chunks done once these takes are there, too, and chunks in all."""
        return self._total - len(self._left.difference(keys)), self._total

    def add(self, keys: Iterable[str]) -> None:
        """These takes are there."""
        before = len(self._left)
        self._left.difference_update(keys)
        if len(self._left) < before:
            self._counted(self._total - len(self._left), self._total)

"""Feeds of the conformance kit: they give a fixed list of chunks and are then closed."""

from __future__ import annotations

from collections.abc import Sequence

from backends.interface import Chunk

_MAX_ASKED = 1000
"""Number of waiting calls a closed feed answers before it fails a backend that does not return."""


class KitFeed:
    """A feed that gives its chunks and is then closed."""

    def __init__(self, chunks: Sequence[Chunk], cancelled: set[int]) -> None:
        self._chunks = list(chunks)
        self._cancelled = cancelled
        self._asked_closed = 0

    def take(self, n: int, wait: bool) -> list[Chunk]:
        """See `Feed.take`."""
        if n < 1:
            raise AssertionError(f"it asked for {n} chunks")
        given, self._chunks = self._chunks[:n], self._chunks[n:]
        self._asked_closed = 0 if given or not wait else self._asked_closed + 1
        if self._asked_closed > _MAX_ASKED:
            raise AssertionError("it goes on asking a closed feed instead of returning")
        return given

    def cancelled(self, chunk_id: int) -> bool:
        """See `Feed.cancelled`."""
        return chunk_id in self._cancelled


class WaitingKitFeed:
    """A `KitFeed` for a backend on the event loop."""

    def __init__(self, feed: KitFeed) -> None:
        self._feed = feed

    async def take(self, n: int, wait: bool) -> list[Chunk]:
        """See `AsyncFeed.take`."""
        return self._feed.take(n, wait)

    def cancelled(self, chunk_id: int) -> bool:
        """See `AsyncFeed.cancelled`."""
        return self._feed.cancelled(chunk_id)

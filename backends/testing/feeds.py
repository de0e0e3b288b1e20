"""Feeds of the conformance kit: they give a fixed list of chunks and are then closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

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
    """A `KitFeed` for a backend on the event loop.

    Args:
        cancelled_late: chunks that are cancelled `turns` turns of the event loop after they were taken.
    """

    def __init__(self, feed: KitFeed, cancelled_late: Iterable[int] = (), turns: int = 0) -> None:
        self._feed = feed
        self._late = set(cancelled_late)
        self._turns = turns
        self._cancelled: set[int] = set()
        self._calls: dict[int, list[Callable[[], object]]] = {}

    async def take(self, n: int, wait: bool) -> list[Chunk]:
        """See `AsyncFeed.take`."""
        chunks = self._feed.take(n, wait)
        for chunk in chunks:
            if chunk.id in self._late:
                self._cancel_after(chunk.id, self._turns)
        return chunks

    def cancelled(self, chunk_id: int) -> bool:
        """See `AsyncFeed.cancelled`."""
        return chunk_id in self._cancelled or self._feed.cancelled(chunk_id)

    def when_cancelled(self, chunk_id: int, call: Callable[[], object]) -> None:
        """See `AsyncFeed.when_cancelled`."""
        if self.cancelled(chunk_id):
            call()
        else:
            self._calls.setdefault(chunk_id, []).append(call)

    def cancel(self, chunk_id: int) -> None:
        """Cancel a chunk now."""
        self._cancelled.add(chunk_id)
        for call in self._calls.pop(chunk_id, ()):
            call()

    def _cancel_after(self, chunk_id: int, turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns:
            loop.call_soon(self._cancel_after, chunk_id, turns - 1)
        else:
            loop.call_soon(self.cancel, chunk_id)

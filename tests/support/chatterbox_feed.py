"""A feed like a worker's: its chunks arrive at given calls of `take` and can be cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from backends.chatterbox import ChatterboxOptions
from backends.interface import Chunk, ChunkFailed, Event, Take, Voice

BUILTIN = Voice("default", ("en",), "builtin")


def chunk(
    number: int, text: str, seed: int | None = None, voice: Voice = BUILTIN, language: str = "en", **options: Any
) -> Chunk:
    return Chunk(number, text, voice, language, 100 + number if seed is None else seed, ChatterboxOptions(**options))


class ListFeed:
    """Delivers its chunks in order, each after a given number of calls of `take`; then it is closed.

    Args:
        on_ask: called with the number of calls so far, so that a test can cancel chunks.
    """

    def __init__(
        self, chunks: Iterable[Chunk], arrivals: Sequence[int] = (), on_ask: Callable[[int], None] | None = None
    ) -> None:
        chunks = list(chunks)
        self._coming = list(zip(chunks, [*arrivals, *[0] * len(chunks)], strict=False))
        self._on_ask = on_ask
        self.asks = 0
        self.unwanted: set[int] = set()
        self.told: dict[int, int] = {}

    def take(self, n: int, wait: bool) -> list[Chunk]:
        self.asks += 1
        if self._on_ask:
            self._on_ask(self.asks)
        now = max(self.asks, min((arrival for _, arrival in self._coming), default=0)) if wait else self.asks
        due = [one for one, arrival in self._coming if arrival <= now][:n]
        self._coming = [(one, arrival) for one, arrival in self._coming if one not in due]
        return due

    def cancelled(self, chunk_id: int) -> bool:
        if chunk_id in self.unwanted:
            self.told.setdefault(chunk_id, self.asks)
            return True
        return False


def spoken(events: Iterable[Event]) -> tuple[dict[int, Take], dict[int, ChunkFailed]]:
    takes, failures = {}, {}
    for event in events:
        assert event.chunk_id not in {**takes, **failures}, "a chunk was answered twice"
        (takes if isinstance(event, Take) else failures)[event.chunk_id] = event
    return takes, failures


def run(engine: Any, feed: ListFeed) -> tuple[dict[int, Take], dict[int, ChunkFailed]]:
    """Speak all chunks of a feed and close the engine."""
    try:
        return spoken(engine.synthesize(feed))
    finally:
        engine.close()


def assert_spoken(takes: dict[int, Take], alone: Any, numbers: Iterable[int]) -> None:
    """Assert that there are takes of exactly these numbers, equal to the takes spoken alone."""
    numbers = list(numbers)
    assert sorted(takes) == sorted(numbers)
    for n in numbers:
        np.testing.assert_array_equal(takes[n].pcm, alone[n])


def pcm16(pcm: Any) -> Any:
    return np.rint(np.clip(np.asarray(pcm, np.float64), -1, 1) * 32767).astype(np.int16)

"""Chatterbox that records the chunks its engine takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backends.interface import Chunk, Event, Feed
from benchmarks.tiny import TinyChatterbox


class RecordedChatterbox(TinyChatterbox):
    """Appends the seed of every chunk it takes, one per line, to `record` in the model folder of its context."""

    def synthesize(self, feed: Feed) -> Iterator[Event]:
        return super().synthesize(_Recorder(feed, self._context.model_dir / "record"))


class _Recorder:
    def __init__(self, feed: Feed, record: Path) -> None:
        self._feed, self._record = feed, record
        self.cancelled = feed.cancelled

    def take(self, n: int, wait: bool) -> list[Chunk]:
        chunks = self._feed.take(n, wait)
        with self._record.open("a") as file:
            file.writelines(f"{chunk.seed}\n" for chunk in chunks)
        return chunks

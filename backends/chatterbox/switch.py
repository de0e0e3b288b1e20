"""Runs several models on one device, one at a time; each is loaded for the first chunk that needs it."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from backends.chatterbox.pulse import INTERVAL_S
from backends.interface import BackendUnavailable, Chunk, ChunkFailed, Event, Feed

RETRY_S = 30.0
"""Seconds until a model that could not be loaded is tried again."""


class Engine(Protocol):
    """An engine for one model."""

    def synthesize(self, feed: Feed) -> Iterator[Event]:
        """See Backend.synthesize."""

    def close(self) -> None:
        """Stop helper threads."""


class Switch:
    """Gives each chunk to the engine of its model.

    An engine runs until a chunk of another model waits. Then it gets no new chunk, finishes those it has, and the
    engine of the chunk that waits longest is next: no model starves, and one engine uses the device at a time.

    Args:
        name: of the model that is loaded.
        engine: its engine.
        make: loads another model; raises BackendUnavailable. Called from a thread.
        choose: returns the model of a chunk; raises ValueError if no model may speak it.
    """

    def __init__(
        self, name: str, engine: Engine, make: Callable[[str], Engine], choose: Callable[[Chunk], str]
    ) -> None:
        self._first = name
        self._engines = {name: engine}
        self._make, self._choose = make, choose
        self._broken: dict[str, tuple[float, str]] = {}

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the models in memory."""
        return tuple(self._engines)

    def synthesize(self, feed: Feed) -> Iterator[Event]:
        """See Backend.synthesize."""
        queue = _ModelQueue(feed, self._choose)
        name = self._first
        while True:
            if name not in self._engines:
                yield from self._load(name, queue)
            if name in self._engines:
                yield from self._engines[name].synthesize(_ModelFeed(queue, name))
            yield from queue.refused()
            if queue.closed and not queue.waiting:
                return
            name = queue.waiting[0][0] if queue.waiting else name if name in self._engines else self._first

    def close(self) -> None:
        """Close all engines."""
        for engine in self._engines.values():
            engine.close()

    def _load(self, name: str, queue: _ModelQueue) -> Generator[Event]:
        until, error = self._broken.get(name, (0.0, ""))
        if time.monotonic() >= until:
            error = self._load_in_thread(name, queue)
        if error:
            for chunk in queue.pick(name):
                yield ChunkFailed(chunk.id, error, kind="unavailable")

    def _load_in_thread(self, name: str, queue: _ModelQueue) -> str:
        """Load a model in a thread and send heartbeats meanwhile; return the error, "" if there is none."""
        failures: list[str] = []

        def load() -> None:
            try:
                self._engines[name] = self._make(name)
            except BackendUnavailable as error:
                failures.append(str(error))
            except Exception as error:  # noqa: BLE001 - the loaded models go on speaking
                failures.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=load, name=f"load-{name}")
        thread.start()
        while thread.is_alive():
            queue.listen()
            thread.join(INTERVAL_S)
        if failures:
            gc.collect()  # reference cycles of the failed model may keep memory that other models need
            self._broken[name] = (time.monotonic() + RETRY_S, failures[0])
        return "".join(failures)


class _ModelQueue:
    """The chunks that wait for the engine of their model, in the order they arrived.

    Attributes:
        waiting: pairs of model and chunk.
        closed: the feed is closed.
    """

    def __init__(self, feed: Feed, choose: Callable[[Chunk], str]) -> None:
        self._feed, self._choose = feed, choose
        self._errors: list[ChunkFailed] = []
        self._listened = 0.0
        self.waiting: list[tuple[str, Chunk]] = []
        self.closed = False

    def take(self, name: str, n: int, wait: bool) -> list[Chunk]:
        """Return up to `n` chunks of a model; none once chunks of another model wait, so that its engine returns."""
        while True:
            if picked := self.pick(name, n):
                return picked
            if self.waiting or self._errors:
                return []
            chunks = self._feed.take(n, wait)
            if not chunks:
                self.closed = wait
                return []
            for chunk in chunks:
                try:
                    self.waiting.append((self._choose(chunk), chunk))
                except ValueError as error:
                    self._errors.append(ChunkFailed(chunk.id, str(error), kind="invalid_input"))

    def pick(self, name: str, n: int | None = None) -> list[Chunk]:
        """Remove and return the first `n` chunks, or all, that wait for a model."""
        picked = [chunk for model, chunk in self.waiting if model == name][:n]
        ids = {chunk.id for chunk in picked}
        self.waiting = [(model, chunk) for model, chunk in self.waiting if chunk.id not in ids]
        return picked

    def refused(self) -> list[ChunkFailed]:
        """Remove and return the failures of chunks that no model may speak."""
        errors, self._errors = self._errors, []
        return errors

    def cancelled(self, chunk_id: int) -> bool:
        """See Feed.cancelled; also drops cancelled chunks that wait here, when that is due."""
        if time.monotonic() - self._listened >= INTERVAL_S:
            self.listen()
        return self._feed.cancelled(chunk_id)

    def listen(self) -> None:
        """Drop cancelled chunks that wait here."""
        self._listened = time.monotonic()
        self.waiting = [(model, chunk) for model, chunk in self.waiting if not self._feed.cancelled(chunk.id)]


class _ModelFeed:
    """The feed of one model's engine."""

    def __init__(self, queue: _ModelQueue, name: str) -> None:
        self._queue, self._name = queue, name

    def take(self, n: int, wait: bool) -> list[Chunk]:
        return self._queue.take(self._name, n, wait)

    def cancelled(self, chunk_id: int) -> bool:
        return self._queue.cancelled(chunk_id)

"""Several models on one device, one speaking at a time; each is loaded when the first chunk asks for it."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from backends.chatterbox.pulse import INTERVAL_S
from backends.interface import BackendUnavailable, Chunk, ChunkFailed, Event, Feed

RETRY_S = 30.0
"""How long a model that could not be loaded is not tried again."""


class Engine(Protocol):
    """What speaks with one model."""

    def synthesize(self, feed: Feed) -> Iterator[Event]:
        """See Backend.synthesize."""

    def close(self) -> None:
        """Stop helper threads."""


class Switch:
    """Gives each chunk to the engine of its model.

    An engine goes on until a chunk of another model waits. Then it gets nothing new, finishes what it has, and the
    engine of the chunk that waits longest is next: nobody starves, and the device has one user at a time.

    Args:
        name: of the model that is loaded.
        engine: its engine.
        make: loads another model; raises BackendUnavailable. Called from a thread.
        choose: the model of a chunk; raises ValueError where none may speak it.
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
        desk = _Desk(feed, self._choose)
        name = self._first
        while True:
            if name not in self._engines:
                yield from self._load(name, desk)
            if name in self._engines:
                yield from self._engines[name].synthesize(_Line(desk, name))
            yield from desk.refused()
            if desk.closed and not desk.waiting:
                return
            name = desk.waiting[0][0] if desk.waiting else name if name in self._engines else self._first

    def close(self) -> None:
        """Let go of all engines."""
        for engine in self._engines.values():
            engine.close()

    def _load(self, name: str, desk: _Desk) -> Generator[Event]:
        until, error = self._broken.get(name, (0.0, ""))
        if time.monotonic() >= until:
            error = self._load_meanwhile(name, desk)
        if error:
            for chunk in desk.pick(name):
                yield ChunkFailed(chunk.id, error, kind="unavailable")

    def _load_meanwhile(self, name: str, desk: _Desk) -> str:
        """Load a model and show signs of life, which a worker that holds chunks must; what went wrong, if it did."""
        failures: list[str] = []

        def load() -> None:
            try:
                self._engines[name] = self._make(name)
            except BackendUnavailable as error:
                failures.append(str(error))
            except Exception as error:  # noqa: BLE001 - the models that are loaded go on
                failures.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=load, name=f"load-{name}")
        thread.start()
        while thread.is_alive():
            desk.listen()
            thread.join(INTERVAL_S)
        if failures:
            gc.collect()  # parts of it may hold each other, and the memory that the other models need
            self._broken[name] = (time.monotonic() + RETRY_S, failures[0])
        return "".join(failures)


class _Desk:
    """Where chunks wait for the engine of their model, in the order they came.

    Attributes:
        waiting: model and chunk.
        closed: no more will come.
    """

    def __init__(self, feed: Feed, choose: Callable[[Chunk], str]) -> None:
        self._feed, self._choose = feed, choose
        self._errors: list[ChunkFailed] = []
        self._listened = 0.0
        self.waiting: list[tuple[str, Chunk]] = []
        self.closed = False

    def take(self, name: str, n: int, wait: bool) -> list[Chunk]:
        """Up to `n` chunks of a model. None once another's wait, so that its engine comes to an end."""
        while True:
            if mine := self.pick(name, n):
                return mine
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
        """The first `n` chunks, or all, that wait for a model."""
        mine = [chunk for model, chunk in self.waiting if model == name][:n]
        ids = {chunk.id for chunk in mine}
        self.waiting = [(model, chunk) for model, chunk in self.waiting if chunk.id not in ids]
        return mine

    def refused(self) -> list[ChunkFailed]:
        """What no model may speak, once."""
        errors, self._errors = self._errors, []
        return errors

    def cancelled(self, chunk_id: int) -> bool:
        """See Feed.cancelled; asks for those that wait here too."""
        if time.monotonic() - self._listened >= INTERVAL_S:
            self.listen()
        return self._feed.cancelled(chunk_id)

    def listen(self) -> None:
        """Let go of what waits here and nobody wants."""
        self._listened = time.monotonic()
        self.waiting = [(model, chunk) for model, chunk in self.waiting if not self._feed.cancelled(chunk.id)]


class _Line:
    """The feed of one engine."""

    def __init__(self, desk: _Desk, name: str) -> None:
        self._desk, self._name = desk, name

    def take(self, n: int, wait: bool) -> list[Chunk]:
        return self._desk.take(self._name, n, wait)

    def cancelled(self, chunk_id: int) -> bool:
        return self._desk.cancelled(chunk_id)

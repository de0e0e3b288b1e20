"""When the work on an utterance really began, and how long it went on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.engines.order import ChunkTicket


class Timing:
    """When the work began: the first chunk in an engine's hands, or the first stored take.

    Waiting for a worker, or for its model, is delay and not execution; only the speaker knows the difference. So is the
    time in which every chunk in an engine's hands waits for a further model of that engine.
    """

    def __init__(self) -> None:
        self._begun: float | None = None
        self._tickets: set[ChunkTicket] = set()
        self._held_up_s = 0.0
        self._held_up_since: float | None = None

    @property
    def started(self) -> float | None:
        """In monotonic seconds; None while everything waits."""
        signs = [ticket.dispatched_at for ticket in self._tickets if ticket.dispatched_at is not None]
        if self._begun is not None:
            signs.append(self._begun)
        return min(signs, default=None)

    @property
    def held_up(self) -> bool:
        """Whether what was begun waits for a model."""
        return self._held_up_since is not None

    def worked_s(self) -> float | None:
        """Seconds of work so far; None while everything waits."""
        if (started := self.started) is None:
            return None
        now = time.monotonic()
        return now - started - self._held_up_s - (now - (self._held_up_since or now))

    def begin(self, at: float | None) -> None:
        """Note a sign of work; the earliest counts."""
        if at is not None and (self._begun is None or at < self._begun):
            self._begun = at

    @contextmanager
    def watching(self, ticket: ChunkTicket) -> Iterator[None]:
        """While a chunk is with a host, its dispatch is a sign of work."""
        self._tickets.add(ticket)
        ticket.on_change = self._look
        self._look()  # it may be dispatched already
        try:
            yield
        finally:
            ticket.on_change = None
            self._tickets.discard(ticket)
            self.begin(ticket.dispatched_at)
            self._look()

    def _look(self) -> None:
        """Note when everything that was begun comes to wait for a model, and when it goes on."""
        begun = [ticket.held_up for ticket in self._tickets if ticket.dispatched_at is not None]
        held_up = bool(begun) and all(begun)
        if held_up and self._held_up_since is None:
            self._held_up_since = time.monotonic()
        elif not held_up and self._held_up_since is not None:
            self._held_up_s += time.monotonic() - self._held_up_since
            self._held_up_since = None

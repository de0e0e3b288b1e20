"""Measures the execution time of an utterance, without the time it waits for a worker or a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.clock import Clock
from gateway.engines.order import ChunkTicket


class Timing:
    """Measures from the first chunk that an engine has taken, or the first stored take that was found.

    Waiting for a worker or for its model is delay and not execution. So is the time during which every chunk that an
    engine has taken waits while the engine loads another model.

    Args:
        clock: the clock of the hosts, since the times of their dispatches are compared with it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun: float | None = None
        self._tickets: set[ChunkTicket] = set()
        self._held_up_s = 0.0
        self._held_up_since: float | None = None

    @property
    def started(self) -> float | None:
        """Return the start of the work in monotonic seconds; None before it."""
        signs = [ticket.dispatched_at for ticket in self._tickets if ticket.dispatched_at is not None]
        if self._begun is not None:
            signs.append(self._begun)
        return min(signs, default=None)

    @property
    def held_up(self) -> bool:
        """Return whether all chunks that were begun wait for a model."""
        return self._held_up_since is not None

    def worked_s(self) -> float | None:
        """Return the seconds of work so far; None before it began."""
        if (started := self.started) is None:
            return None
        now = self._clock.monotonic()
        return now - started - self._held_up_s - (now - (self._held_up_since or now))

    def begin(self) -> None:
        """Record that work is seen now; the earliest time counts."""
        self._begin(self._clock.monotonic())

    def _begin(self, at: float) -> None:
        if self._begun is None or at < self._begun:
            self._begun = at

    @contextmanager
    def tracking(self, ticket: ChunkTicket) -> Iterator[None]:
        """Watch a chunk while a host has it; its dispatch counts as work."""
        self._tickets.add(ticket)
        ticket.on_change = self._update
        self._update()  # it may be dispatched already
        try:
            yield
        finally:
            ticket.on_change = None
            self._tickets.discard(ticket)
            if ticket.dispatched_at is not None:
                self._begin(ticket.dispatched_at)
            self._update()

    def _update(self) -> None:
        """Record when all chunks that were begun start to wait for a model, and when they continue."""
        begun = [ticket.held_up for ticket in self._tickets if ticket.dispatched_at is not None]
        held_up = bool(begun) and all(begun)
        if held_up and self._held_up_since is None:
            self._held_up_since = self._clock.monotonic()
        elif not held_up and self._held_up_since is not None:
            self._held_up_s += self._clock.monotonic() - self._held_up_since
            self._held_up_since = None

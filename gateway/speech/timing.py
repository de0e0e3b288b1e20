"""When the work on an utterance really began."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.engines.order import Ticket


class Timing:
    """When the work began: the first chunk in an engine's hands, or the first stored take.

    Waiting for a worker, or for its model, is delay and not execution; only the speaker knows the difference.
    """

    def __init__(self) -> None:
        self._begun: float | None = None
        self._tickets: set[Ticket] = set()

    @property
    def started(self) -> float | None:
        """In monotonic seconds; None while everything waits."""
        signs = [ticket.dispatched_at for ticket in self._tickets if ticket.dispatched_at is not None]
        if self._begun is not None:
            signs.append(self._begun)
        return min(signs, default=None)

    def begin(self, at: float | None) -> None:
        """Note a sign of work; the earliest counts."""
        if at is not None and (self._begun is None or at < self._begun):
            self._begun = at

    @contextmanager
    def watching(self, ticket: Ticket) -> Iterator[None]:
        """While a chunk is with a host, its dispatch is a sign of work."""
        self._tickets.add(ticket)
        try:
            yield
        finally:
            self._tickets.discard(ticket)
            self.begin(ticket.dispatched_at)

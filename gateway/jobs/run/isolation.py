"""A server for one job: the death of a server says who did it only if nothing else ran there.

A job with which a server died is a suspect. It is claimed where nothing else runs, and nothing is claimed beside it
until a take of it is stored, it has ended, or `ALONE_S` are over. For it, running jobs make room: they go on to the
end of the chunk in hand, and back to the queue with what they have spoken.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.clock import Clock
from gateway.jobs.model.attempt import Attempt

ALONE_S = 30.0
"""Seconds for which a suspect that has not stored a take keeps everybody else out."""

PATIENCE_S = 30.0
"""Seconds for which running jobs may finish the chunk in hand before they make room all the same."""

LOOK_S = 1.0
"""Seconds between looks for suspects; they wait for at least one after the death."""


class Isolation:
    """Says what one server may claim while suspects wait or run.

    Args:
        running: what runs here, by job id.
    """

    def __init__(self, clock: Clock, running: Mapping[str, Attempt]) -> None:
        self._clock = clock
        self._running = running
        self._until = 0.0
        self._next_look = 0.0
        self._since: float | None = None
        """Since when running jobs are asked to make room; None: they are not."""

    def alone(self) -> bool:
        """Whether a suspect has this server to itself."""
        if not any(run.suspect and not run.completed for run in self._running.values()):
            return False
        return self._clock.monotonic() < self._until

    def closed(self) -> bool:
        """Whether nothing may be claimed but a suspect."""
        return self._since is not None or self.alone()

    def begin(self) -> None:
        """A suspect begins to run, by itself."""
        self._until = self._clock.monotonic() + ALONE_S

    def look_is_due(self) -> bool:
        """Whether to look for suspects now: seldom, since there are hardly ever any, but often while room is made."""
        now = self._clock.monotonic()
        if now < self._next_look and self._since is None:
            return False
        self._next_look = now + LOOK_S
        return True

    def look_again(self) -> None:
        """Look at the next opportunity: behind one suspect others may wait."""
        self._next_look = 0.0

    def make_room(self) -> bool:
        """Ask what runs to make room for a suspect; whether there is nothing that runs."""
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
        busy = [run for run in self._running.values() if not run.completed]
        for run in busy:
            run.make_room(at_once=now - self._since >= PATIENCE_S)
        return not busy

    def over(self) -> None:
        """No suspect waits, or the one that waited has begun: nobody needs to make room any more."""
        self._since = None
        for run in self._running.values():
            run.making_room = False

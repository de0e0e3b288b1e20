"""Runs suspect jobs alone, so that the next death of a server shows which job caused it.

A job that ran on a server that died is a suspect. It is claimed only where nothing else runs, and nothing else is
claimed there until a take of it is stored, it has ended, or `ALONE_S` are over. Running jobs make room for it: they
finish the current chunk and go back to the queue with their stored takes.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.clock import Clock
from gateway.jobs.model.attempt import Attempt

ALONE_S = 30.0
"""Seconds for which a suspect that has not stored a take runs alone."""

PATIENCE_S = 30.0
"""Seconds that running jobs have to finish the current chunk; then they are stopped."""

LOOK_S = 1.0
"""Seconds between looks for suspects; a suspect waits at least this long after the death."""


class Isolation:
    """Decides which jobs one server may claim while suspects wait or run.

    Args:
        running: the attempts that run here, by job id.
    """

    def __init__(self, clock: Clock, running: Mapping[str, Attempt]) -> None:
        self._clock = clock
        self._running = running
        self._until = 0.0
        self._next_look = 0.0
        self._since: float | None = None
        """Monotonic time since which running jobs are asked to make room; None: they are not."""

    def alone(self) -> bool:
        """Return whether a suspect runs alone on this server."""
        if not any(run.suspect and not run.completed for run in self._running.values()):
            return False
        return self._clock.monotonic() < self._until

    def closed(self) -> bool:
        """Return whether only suspects may be claimed."""
        return self._since is not None or self.alone()

    def begin(self) -> None:
        """Start the `ALONE_S` of a suspect that begins to run."""
        self._until = self._clock.monotonic() + ALONE_S

    def look_is_due(self) -> bool:
        """Return whether to look for suspects now: every `LOOK_S`, and always while jobs make room."""
        now = self._clock.monotonic()
        if now < self._next_look and self._since is None:
            return False
        self._next_look = now + LOOK_S
        return True

    def look_again(self) -> None:
        """Make the next look due at once, since more suspects may wait."""
        self._next_look = 0.0

    def make_room(self) -> bool:
        """Ask the running jobs to make room for a suspect; return whether none runs."""
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
        busy = [run for run in self._running.values() if not run.completed]
        for run in busy:
            run.make_room(at_once=now - self._since >= PATIENCE_S)
        return not busy

    def over(self) -> None:
        """Stop making room, since no suspect waits, or the one that waited is about to run."""
        self._since = None
        for run in self._running.values():
            run.making_room = False

"""Takes that were spoken and are not stored yet. A stream reads them from here and need not wait for the disk."""

from __future__ import annotations

from collections.abc import Callable

from gateway.engines.order import TakeResult
from gateway.speech.sound.finish import Finish


class FreshTakes:
    """Holds each take in memory from the moment it is spoken until its row is committed.

    Args:
        on_take: called with the key of each take that is added.
    """

    def __init__(self, on_take: Callable[[str], None]) -> None:
        self._on_take = on_take
        self._takes: dict[str, tuple[TakeResult, Finish]] = {}
        self.changes = 0
        """Counts takes added and removed. If it has not changed, this server has spoken nothing more."""

    def add(self, key: str, take: TakeResult, finish: Finish) -> None:
        """Add a take whose samples were finished with `finish`."""
        self._takes[key] = (take, finish)
        self.changes += 1
        self._on_take(key)

    def get(self, key: str) -> tuple[TakeResult, Finish] | None:
        """Return the take and the `Finish` of its samples; None if it is not here."""
        return self._takes.get(key)

    def drop(self, key: str) -> None:
        """Remove a take that is stored or could not be stored."""
        self.changes += 1
        self._takes.pop(key, None)

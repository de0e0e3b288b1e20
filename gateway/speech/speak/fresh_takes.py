"""Takes that were spoken and are not stored yet: somebody who listens need not wait for a disk."""

from __future__ import annotations

from collections.abc import Callable

from gateway.engines.order import TakeResult
from gateway.speech.sound.finish import Finish


class FreshTakes:
    """Holds each take from its engine until its row is committed, when the take_store has it.

    Args:
        told: called with the key of every take that comes.
    """

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told
        self._takes: dict[str, tuple[TakeResult, Finish]] = {}
        self.changes = 0
        """Grows whenever a take comes or goes: while it stands still, nothing more has been spoken here."""

    def add(self, key: str, take: TakeResult, finish: Finish) -> None:
        """A take has come, its samples finished in this way."""
        self._takes[key] = (take, finish)
        self.changes += 1
        self._told(key)

    def get(self, key: str) -> tuple[TakeResult, Finish] | None:
        """The take, and how its samples were finished."""
        return self._takes.get(key)

    def drop(self, key: str) -> None:
        """The take is stored, or nobody could store it."""
        self.changes += 1
        self._takes.pop(key, None)

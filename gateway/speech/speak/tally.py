"""Counts the characters and the seconds of audio that engines spoke for an attempt, and the time this took."""

from __future__ import annotations

import msgspec


class BilledTakes(msgspec.Struct, frozen=True):
    """The takes of an utterance that its job pays for: those that were spoken for this job.

    Args:
        chars: characters of their texts.
        audio_s: seconds of audio in them, as the engine spoke them.
    """

    chars: int
    audio_s: float


class TakeTally:
    """Adds up the takes a job pays for: every take an engine spoke for this attempt, and each take of an earlier
    attempt of the job once. Takes that other jobs had spoken are not counted.
    """

    def __init__(self) -> None:
        self._chars = 0
        self._audio_s = 0.0
        self._known: set[str] = set()
        self.engine_s = 0.0
        self.retried = 0

    @property
    def billed(self) -> BilledTakes:
        """Return the sum so far."""
        return BilledTakes(self._chars, self._audio_s)

    def spoken(self, key: str, text: str, audio_s: float, engine_s: float) -> None:
        """Count a take that an engine spoke; a take that is spoken again counts again."""
        self._add(key, text, audio_s)
        self.engine_s += engine_s

    def joined(self, key: str) -> None:
        """Do not count this take: it was joined from pieces, which are counted."""
        self._known.add(key)

    def found(self, key: str, text: str, audio_s: float) -> None:
        """Count a stored take of this job, unless this attempt has spoken it."""
        if key not in self._known:
            self._add(key, text, audio_s)

    def _add(self, key: str, text: str, audio_s: float) -> None:
        self._known.add(key)
        self._chars += len(text)
        self._audio_s += audio_s

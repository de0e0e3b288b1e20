"""What an attempt had engines speak: its characters, its seconds of sound, the time it took."""

from __future__ import annotations

import msgspec


class BilledTakes(msgspec.Struct, frozen=True):
    """What is paid for an utterance: the takes its job led.

    Args:
        chars: characters of their texts.
        audio_s: seconds of sound in them, as the engine spoke them.
    """

    chars: int
    audio_s: float


class Tally:
    """Adds up what a job has led: every take that an engine gave to this attempt, and once each that an earlier attempt
    of the job has left behind. Takes of other jobs are theirs.
    """

    def __init__(self) -> None:
        self._chars = 0
        self._audio_s = 0.0
        self._known: set[str] = set()
        self.engine_s = 0.0
        self.retried = 0

    @property
    def billed(self) -> BilledTakes:
        """What is paid for."""
        return BilledTakes(self._chars, self._audio_s)

    def spoken(self, key: str, text: str, audio_s: float, engine_s: float) -> None:
        """An engine gave a take; one that is spoken again is paid again."""
        self._add(key, text, audio_s)
        self.engine_s += engine_s

    def joined(self, key: str) -> None:
        """A take was made of others, which are counted."""
        self._known.add(key)

    def found(self, key: str, text: str, audio_s: float) -> None:
        """A take of the job's own was found: of an earlier attempt, unless this one has it from its engine."""
        if key not in self._known:
            self._add(key, text, audio_s)

    def _add(self, key: str, text: str, audio_s: float) -> None:
        self._known.add(key)
        self._chars += len(text)
        self._audio_s += audio_s

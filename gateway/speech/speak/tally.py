"""Counts the characters and the seconds of audio that engines spoke for an attempt, and the time this took."""

from __future__ import annotations

import msgspec

from backends.interface import Voice
from gateway.speech.text.script import PlannedChunk


class BilledTakes(msgspec.Struct, frozen=True):
    """The takes of one voice in an utterance that its job pays for: those that were spoken for this job.

    Args:
        chars: characters of their texts.
        audio_s: seconds of audio in them, as the engine spoke them.
    """

    voice: Voice
    chars: int = 0
    audio_s: float = 0.0


class TakeTally:
    """Adds up the takes a job pays for: every take an engine spoke for this attempt, and each take of an earlier
    attempt of the job once. Takes that other jobs had spoken are not counted.
    """

    def __init__(self) -> None:
        self._billed: dict[str, BilledTakes] = {}  # by voice
        self._known: set[str] = set()
        self.engine_s = 0.0
        self.retried = 0

    @property
    def billed(self) -> tuple[BilledTakes, ...]:
        """Return the sums so far."""
        return tuple(self._billed.values())

    def spoken(self, chunk: PlannedChunk, audio_s: float, engine_s: float) -> None:
        """Count a take that an engine spoke; a take that is spoken again counts again."""
        self._add(chunk, audio_s)
        self.engine_s += engine_s

    def joined(self, key: str) -> None:
        """Do not count this take: it was joined from pieces, which are counted."""
        self._known.add(key)

    def found(self, chunk: PlannedChunk, audio_s: float) -> None:
        """Count a stored take of this job, unless this attempt has spoken it."""
        if chunk.key not in self._known:
            self._add(chunk, audio_s)

    def _add(self, chunk: PlannedChunk, audio_s: float) -> None:
        self._known.add(chunk.key)
        voice = chunk.use.voice
        so_far = self._billed.get(voice.name) or BilledTakes(voice)
        self._billed[voice.name] = BilledTakes(voice, so_far.chars + len(chunk.text), so_far.audio_s + audio_s)

"""Joins finished takes and pauses into one file, and records the times of chunks and marks."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from gateway.speech.encode import Encoded, Encoder
from gateway.speech.sound.gain import amplified, factor
from gateway.speech.sound.take import Pcm16
from gateway.speech.sound.word_times import WordTimes
from gateway.speech.text.plan import Mark, Pause, Plan, Segment, Speak

_SILENCE_BLOCK = 1 << 16


class ChunkTime(msgspec.Struct, frozen=True):
    """The time of a chunk in the finished audio, from counted output samples."""

    text: str
    start_ms: int
    end_ms: int


class MarkTime(msgspec.Struct, frozen=True):
    """The time of a mark in the finished audio; `sample` is exact, in samples of its rate."""

    name: str
    ms: int
    sample: int


class SpokenWord(msgspec.Struct, frozen=True):
    """A word as the engine spoke it, and its time in the finished audio."""

    word: str
    start_ms: int
    end_ms: int


def spoken_words(words: WordTimes, at: int, rate: int) -> tuple[SpokenWord, ...]:
    """Return the word times of a take that begins at sample `at` of the finished audio, at `rate` Hz."""
    ms = 1000 / rate
    return tuple(SpokenWord(word.word, round((at + word.start) * ms), round((at + word.end) * ms)) for word in words)


class Rendered(msgspec.Struct, frozen=True):
    """The finished audio of an utterance, with the times of its chunks, marks and words."""

    encoded: Encoded
    chunks: tuple[ChunkTime, ...]
    marks: tuple[MarkTime, ...]
    samples: int
    words: tuple[SpokenWord, ...] = ()


class Renderer:
    """Writes an utterance to a file, take by take, so that its whole PCM is never in memory.

    Args:
        plan: takes are added in the order of its chunks.
        speed: divides natural pauses; exact ones keep their length.
        encoder: writes the file, at the rate of all takes.
        gain: a factor for the whole utterance.
    """

    def __init__(self, plan: Plan, encoder: Encoder, *, speed: float, gain: float = 1.0) -> None:
        self._encoder = encoder
        self._segments: Iterator[Segment] = iter(plan.segments)
        self._speed = speed
        self._gain = gain
        self._chunks: list[ChunkTime] = []
        self._marks: list[MarkTime] = []
        self._words: list[SpokenWord] = []

    def add(self, pcm: Pcm16, words: WordTimes = ()) -> None:
        """Append the finished take of the next chunk, after the pauses and marks before it.

        Args:
            pcm: shape (n,).
            words: in samples of `pcm`.

        Raises:
            ValueError: the plan has no more chunks.
        """
        speak = self._advance()
        if speak is None:
            raise ValueError("more takes than the plan has chunks")
        start_ms = self._now_ms()
        self._words += spoken_words(words, self._encoder.samples, self._encoder.rate)
        self._encoder.write(amplified(pcm, self._gain * factor(speak.gain)))
        self._chunks.append(ChunkTime(speak.shown, start_ms, self._now_ms()))

    def finish(self) -> Rendered:
        """Write the pauses and marks after the last chunk and complete the file.

        Raises:
            ValueError: a chunk has no take.
            SynthesisFailed: nothing was spoken.
        """
        if self._advance() is not None:
            raise ValueError("fewer takes than the plan has chunks")
        encoded = self._encoder.finish()
        return Rendered(encoded, tuple(self._chunks), tuple(self._marks), encoded.samples, tuple(self._words))

    def abandon(self) -> None:
        """Close the unfinished file; the caller removes it."""
        self._encoder.abandon()

    def _advance(self) -> Speak | None:
        for segment in self._segments:
            match segment:
                case Speak():
                    return segment
                case Pause():
                    self._silence(segment)
                case Mark():
                    self._marks.append(MarkTime(segment.name, self._now_ms(), self._encoder.samples))
        return None

    def _silence(self, pause: Pause) -> None:
        left = pause.samples(self._speed, self._encoder.rate)
        block = np.zeros(min(left, _SILENCE_BLOCK), np.int16)
        while left > 0:
            self._encoder.write(block[:left])
            left -= min(left, block.size)

    def _now_ms(self) -> int:
        return round(self._encoder.samples * 1000 / self._encoder.rate)

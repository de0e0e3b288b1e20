"""Word times of a take, from the samples an engine gave to those of the finished take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import numpy as np

from backends.interface import WordTime
from gateway.speech.sound.time_map import TimeMap

WordTimes: TypeAlias = tuple[WordTime, ...]

_decode = msgspec.json.Decoder(WordTimes).decode


def in_order(words: Sequence[WordTime], size: int) -> WordTimes:
    """Return the word times of a take of `size` samples; nothing if one is outside of it, or they are in disorder."""
    at = 0
    for word in words:
        if not at <= word.start <= word.end <= size:
            return ()
        at = word.end
    return tuple(WordTime(int(word.start), int(word.end), word.word) for word in words)


def cut(words: WordTimes, begin: int, end: int) -> WordTimes:
    """Return the word times after all but the samples from `begin` to `end` were cut away."""
    return tuple(
        WordTime(min(max(word.start, begin), end) - begin, min(max(word.end, begin), end) - begin, word.word)
        for word in words
    )


def mapped(words: WordTimes, times: TimeMap) -> WordTimes:
    """Return the word times after a stretch."""
    starts = times[np.array([word.start for word in words], np.intp)].tolist()
    ends = times[np.array([word.end for word in words], np.intp)].tolist()
    return tuple(WordTime(start, end, word.word) for start, end, word in zip(starts, ends, words, strict=True))


def shifted(words: WordTimes, samples: int) -> WordTimes:
    """Return the word times of a take with `samples` samples in front of it."""
    return tuple(WordTime(word.start + samples, word.end + samples, word.word) for word in words)


def to_json(words: WordTimes) -> str | None:
    """Return the word times as JSON; None if there are none."""
    return msgspec.json.encode(words).decode() if words else None


def from_json(words: str | None) -> WordTimes:
    """Return the word times that `to_json` wrote."""
    return _decode(words) if words else ()

"""Checks a take for audible flaws, in the worker that spoke it, so that it can be spoken again with another seed.

A neural voice samples its speech, and sometimes it samples badly: it stops early, repeats a phrase, or hums after the
end of the text. Each check finds one such flaw. The checks are cheap (docs/quality.md has the figures) and find nothing
in good speech, since a retry costs more than a take that is slightly odd.

All levels are relative to the take's own level, so that soft and loud voices are checked alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.speech.text.pace import repeated_seconds, seconds_to_speak

FlawName: TypeAlias = Literal["too_short", "too_long", "dead_air", "clipped", "looped", "missed_eos"]

CHECKS_VERSION = "1"
"""Part of every cache key of checked takes; raised whenever a check may give another result."""

_SHORTEST, _SHORTEST_OFFSET_S = 0.4, 0.1
_LONGEST, _LONGEST_OFFSET_S = 2.2, 1.5
# Frames below this level are silence; the level is relative to the loudest tenth of the take.
_SILENCE_DB = -40.0
_FRAME_MS = 10
_DEAD_AIR_S = 2.0  # no pause within a chunk is so long: the plan's pauses are between chunks
_SILENT_TAIL_S = 3.0  # shorter ones are trimmed; longer ones show that the decoder found no end
_STEADY_TAIL_S = 0.8
_STEADY_DB = 2.0  # speech moves by more than 5 dB within 0.8 s: syllables
_STEADY_BLOCK_MS = 40
_CLIPPED_SHARE = 0.001
_CLIPPED_RUN = 4
_TOP = 0.9985
_LOOP_RATE = 4000  # Hz, about: the differences between syllables are below 2 kHz, or fold to there
_LOOP_HOP = 128  # samples: 32 ms; two of them are a frame
_LOOP_WINDOW = 16  # frames that do not overlap: 1 s
_LOOP_STEP = 7  # about a quarter of a second; odd, since every second frame is in phase with a repetition
_LOOP_LEAST_LAG = 8  # 256 ms: one repeated syllable
_LOOP_LIKE = 0.78
_SAID_TWICE, _SAID_TWICE_OFFSET_S = 2.5, 0.5  # for slow voices; for different words that sound alike
_TONES_HZ = (90, 1890, 75)  # first, last, step: the resolution of a window of 32 ms
_TONES_A_BAND = (1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3)  # bands widen with frequency, as in the ear


class Check(msgspec.Struct, frozen=True):
    """The text that a take is checked against."""

    text: str


class Flaw(msgspec.Struct, frozen=True):
    """One flaw of a take.

    Args:
        name: of the check.
        severity: above 0, at most 1.
        detail: a message for people; contains no word of the text.
    """

    name: FlawName
    severity: float
    detail: str


def score(flaws: tuple[Flaw, ...]) -> float:
    """Return the score of a take with these flaws: 1.0 without any, minus the severity of each."""
    return 1.0 - sum(flaw.severity for flaw in flaws)


def find_flaws(pcm: npt.NDArray[np.float32], rate: int, check: Check) -> tuple[Flaw, ...]:
    """Return the flaws of a take.

    Args:
        pcm: shape (n,) at `rate` Hz, any scale, before anything is trimmed.
    """
    levels = _levels_db(pcm, rate)
    loud = np.flatnonzero(levels > _SILENCE_DB)
    if loud.size == 0:
        return ()  # `check_take` rejects silence for a text with letters
    first, last = int(loud[0]), int(loud[-1]) + 1
    gaps = np.diff(loud) - 1
    silences_s = gaps[gaps >= 100] * (_FRAME_MS / 1000)
    per_frame = rate * _FRAME_MS // 1000
    fold = max(1, rate // _LOOP_RATE)
    sparse = np.ascontiguousarray(pcm[::fold])
    return (
        *_wrong_length((last - first) * _FRAME_MS / 1000, silences_s, check.text),
        *_dead_air(silences_s),
        *_silent_tail((levels.size - last) * _FRAME_MS / 1000),
        *_steady_tail(levels[:last]),
        *_clipped(pcm, sparse),
        *_looped(sparse[first * per_frame // fold : last * per_frame // fold], rate // fold, check.text),
    )


def _levels_db(pcm: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
    """Return the level of each frame of 10 ms in dB, relative to the loudest tenth of the take."""
    frame = max(1, rate * _FRAME_MS // 1000)
    if pcm.size < frame:
        return np.zeros(0, np.float32)
    frames = pcm[: pcm.size // frame * frame].reshape(-1, frame)
    energies = np.vecdot(frames, frames)
    loud = energies.size - 1 - energies.size // 10
    reference = max(float(np.partition(energies, loud)[loud]), 1e-12)
    levels: npt.NDArray[np.float32] = 10 * np.log10(np.maximum(energies, 1e-9 * reference) / reference)
    return levels


def _wrong_length(heard_s: float, silences_s: npt.NDArray[np.float64], text: str) -> Iterator[Flaw]:
    """Compare the length of the speech, long silences left out, with the length expected for the text."""
    heard_s -= float(silences_s.sum())
    expected_s = seconds_to_speak(text)
    least_s = _SHORTEST * expected_s - _SHORTEST_OFFSET_S
    most_s = _LONGEST * expected_s + _LONGEST_OFFSET_S
    if heard_s < least_s:
        severity = 0.4 + 0.6 * (1 - heard_s / least_s)
        yield Flaw("too_short", severity, f"{heard_s:.1f} s of speech, at least {least_s:.1f} s were expected")
    elif heard_s > most_s:
        severity = min(1.0, 0.3 + 0.35 * (heard_s / most_s - 1))
        yield Flaw("too_long", severity, f"{heard_s:.1f} s of speech, at most {most_s:.1f} s were expected")


def _dead_air(silences_s: npt.NDArray[np.float64]) -> Iterator[Flaw]:
    longest_s = float(silences_s.max(initial=0.0))
    if longest_s >= _DEAD_AIR_S:
        yield Flaw("dead_air", min(0.8, 0.1 * longest_s), f"{longest_s:.1f} s of silence inside")


def _silent_tail(silent_s: float) -> Iterator[Flaw]:
    if silent_s >= _SILENT_TAIL_S:
        yield Flaw("missed_eos", min(0.5, 0.05 * silent_s), f"{silent_s:.1f} s of silence at the end")


def _steady_tail(levels: npt.NDArray[np.float32]) -> Iterator[Flaw]:
    """Find a hum or hiss of constant level after the last word; the decoder found no end."""
    per_block = _STEADY_BLOCK_MS // _FRAME_MS
    blocks = levels.size // per_block - 1  # without the last block, which has an edge
    if blocks * per_block < _STEADY_TAIL_S * 1000 / _FRAME_MS:
        return
    tail = levels[: blocks * per_block : per_block][::-1].tolist()
    steady, total, squares = 0, 0.0, 0.0
    least = round(_STEADY_TAIL_S * 1000 / _STEADY_BLOCK_MS)
    for count, level in enumerate(tail, 1):
        total += level
        squares += level * level
        if squares / count - (total / count) ** 2 <= _STEADY_DB**2:
            steady = count
        elif count > max(least, 2 * steady):
            break  # speech
    steady_s = steady * _STEADY_BLOCK_MS / 1000
    if steady_s >= _STEADY_TAIL_S:
        yield Flaw("missed_eos", min(0.9, 0.4 + 0.1 * steady_s), f"{steady_s:.1f} s of one steady sound at the end")


def _clipped(pcm: npt.NDArray[np.float32], sparse: npt.NDArray[np.float32]) -> Iterator[Flaw]:
    """Find flat tops at the peak of the take; an unclipped wave has only a sample or two there.

    Args:
        sparse: some of its samples, for a cheap first test.
    """
    loudness = np.abs(sparse)
    if np.count_nonzero(loudness >= _TOP * float(loudness.max())) < sparse.size * _CLIPPED_SHARE / 2:
        return
    top = max(float(pcm.max()), -float(pcm.min())) * _TOP
    at_top = np.flatnonzero(np.abs(pcm) >= top)
    ends = np.flatnonzero(np.diff(at_top) > 1)
    runs = np.diff(np.concatenate(([-1], ends, [at_top.size - 1])))
    share = float(runs[runs >= _CLIPPED_RUN].sum()) / pcm.size
    if share >= _CLIPPED_SHARE:
        yield Flaw("clipped", min(0.7, 0.2 + 10 * share), f"{share:.1%} of the samples are cut off at the peak")


def _looped(sparse: npt.NDArray[np.float32], rate: int, text: str) -> Iterator[Flaw]:
    """Find repeated sound: compare the coarse spectra of each second with every later second.

    After Foote's self-similarity matrix (ACM Multimedia, 1999). Words that the text repeats may sound alike.

    Args:
        sparse: at `rate` Hz. No low-pass filter is needed: aliasing is the same in every repetition.
    """
    spectra = _spectra(sparse, rate)
    count = spectra.shape[0] - 2 * (_LOOP_WINDOW - 1)
    if count <= _LOOP_LEAST_LAG:
        return
    row, item = spectra.strides
    windows = np.lib.stride_tricks.as_strided(spectra, (count, _LOOP_WINDOW, spectra.shape[1]), (row, 2 * row, item))
    windows = windows.reshape(count, -1)
    asked = np.arange(0, count, _LOOP_STEP)
    likeness = windows[asked] @ windows.T
    likeness[np.arange(count) < asked[:, None] + _LOOP_LEAST_LAG] = 0.0
    again = int(np.count_nonzero(likeness.max(axis=1) >= _LOOP_LIKE * _LOOP_WINDOW))
    if not again:
        return
    again_s = ((again - 1) * _LOOP_STEP + 2 * _LOOP_WINDOW) * _LOOP_HOP / rate
    if again_s > _SAID_TWICE * repeated_seconds(text) + _SAID_TWICE_OFFSET_S:
        yield Flaw("looped", min(1.0, 0.5 + 0.1 * again_s), f"{again_s:.1f} s are heard again later")


def _spectra(sparse: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.float32]:
    """Return the normalised log spectrum of 64 ms at every 32 ms, shape (frames, bands); zero vectors for silence."""
    hops = sparse.size // _LOOP_HOP
    if hops < 2:
        return np.zeros((0, 1), np.float32)
    tones, bands = _filters(rate)
    waves = sparse[: hops * _LOOP_HOP].reshape(hops, _LOOP_HOP) @ tones
    np.multiply(waves, waves, out=waves)
    energies = waves @ bands
    energies = energies[1:] + energies[:-1]
    total = energies @ np.ones(energies.shape[1], np.float32)
    mean = float(total.mean())
    energies += mean * 1e-5 + 1e-9
    logs = np.log(energies, out=energies)
    logs -= logs.mean(axis=0)
    logs *= ((total > mean * 1e-3) / (np.sqrt(np.vecdot(logs, logs)) + 1e-6))[:, None]
    return logs


@lru_cache(maxsize=8)
def _filters(rate: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return two matrices: from the samples of a hop to cosines and sines, and from their squares to bands.

    For so few tones this takes a third of the time of a Fourier transform.
    """
    first, last, step = _TONES_HZ
    hz = np.arange(first, last + 1, step)
    phases = 2 * np.pi * np.outer(np.arange(_LOOP_HOP), hz) / rate
    tones = np.concatenate((np.cos(phases), np.sin(phases)), axis=1) * np.hanning(_LOOP_HOP)[:, None]
    band_of = np.repeat(np.arange(len(_TONES_A_BAND)), _TONES_A_BAND)
    bands = np.tile(band_of, 2)[:, None] == np.arange(len(_TONES_A_BAND))
    return tones.astype(np.float32), bands.astype(np.float32)

"""Finds the first and the last speech in a take, and fades cut edges."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_FRAME_MS = 10
_BELOW_LOUDEST_DB = 45.0
_KEEP_BEFORE_MS = 20  # for the onset of a fricative
_KEEP_AFTER_MS = 60  # for the decay of a vowel
_FADE_MS = 5


def speech_span(pcm: npt.NDArray[np.float32], rate: int) -> tuple[int, int]:
    """Return the first and last + 1 sample to keep: the frames of 10 ms within 45 dB of the loudest one, with 20 ms
    before and 60 ms after them.

    Args:
        pcm: shape (n,), finite, any scale. Inner pauses do not matter. A silent take is kept whole.
    """
    frame = max(1, rate * _FRAME_MS // 1000)
    whole = pcm.size // frame
    with np.errstate(over="ignore"):
        energies = _energies(pcm, frame, whole)
        loudest = float(energies.max(initial=0.0))
    if math.isinf(loudest):  # squares of samples above 1e19 are more than a float32 holds
        energies = _energies(pcm.astype(np.float64), frame, whole)
        loudest = float(energies.max())
    if loudest <= 0.0:
        return 0, pcm.size
    loud = np.flatnonzero(energies > loudest * 10 ** (-_BELOW_LOUDEST_DB / 10))
    begin = int(loud[0]) * frame - rate * _KEEP_BEFORE_MS // 1000
    end = (int(loud[-1]) + 1) * frame + rate * _KEEP_AFTER_MS // 1000
    return max(0, begin), min(pcm.size, end)


def _energies(pcm: npt.NDArray[np.floating], frame: int, whole: int) -> npt.NDArray[np.floating]:
    """Return the energy of each of the `whole` frames, and of the rest scaled to the length of a frame."""
    frames = pcm[: whole * frame].reshape(whole, frame)
    energies: npt.NDArray[np.floating] = np.einsum("ij,ij->i", frames, frames)
    rest = pcm[whole * frame :]
    if rest.size:
        energies = np.append(energies, np.dot(rest, rest) * (frame / rest.size))
    return energies


def fade(pcm: npt.NDArray[np.int16], rate: int, begin: bool, end: bool) -> None:
    """Apply raised-cosine fades of 5 ms, in place, at the edges that were cut."""
    n = min(rate * _FADE_MS // 1000, pcm.size)
    if n == 0:
        return
    ramp = (0.5 - 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / n)).astype(np.float32)
    if begin:
        pcm[:n] = np.rint(pcm[:n] * ramp)
    if end:
        pcm[pcm.size - n :] = np.rint(pcm[pcm.size - n :] * ramp[::-1])

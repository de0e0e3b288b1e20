"""Measures the loudness of speech and computes the gain for a wanted loudness."""

from __future__ import annotations

import math

import numpy as np

from gateway.speech.sound.take import Pcm16

_BLOCK_MS = 100
_ABSOLUTE_GATE_DBFS = -60.0
_RELATIVE_GATE_DB = 10.0
_FULL_SCALE = 32768.0


class LevelMeter:
    """Measures the gated RMS level of speech that arrives in pieces.

    Blocks of 100 ms below -60 dBFS are left out, then those 10 dB below the mean of the others, so that pauses do not
    lower the level. As in ITU-R BS.1770, without the frequency weighting, which needs a recursive filter.
    """

    def __init__(self, rate: int) -> None:
        self._block = max(1, rate * _BLOCK_MS // 1000)
        self._rest = np.zeros(0, np.float32)
        self._powers: list[np.ndarray[tuple[int], np.dtype[np.float32]]] = []
        self._peak = 0.0

    @property
    def peak(self) -> float:
        """Return the largest sample so far; 1.0 is full scale."""
        return self._peak

    def add(self, pcm: Pcm16, gain: float = 1.0) -> None:
        """Measure further samples, multiplied by `gain`."""
        if pcm.size == 0:
            return
        x = pcm.astype(np.float32) * np.float32(gain / _FULL_SCALE)
        self._peak = max(self._peak, float(x.max()), -float(x.min()))
        x = np.concatenate((self._rest, x)) if self._rest.size else x
        whole = x.size // self._block
        blocks = x[: whole * self._block].reshape(whole, self._block)
        self._powers.append(np.einsum("ij,ij->i", blocks, blocks) / np.float32(self._block))
        self._rest = x[whole * self._block :]

    def level(self) -> float:
        """Return the level in dBFS (0 for a full-scale square wave); -inf if there was no speech."""
        powers = np.concatenate(self._powers) if self._powers else np.zeros(0, np.float32)
        if powers.size == 0 and self._rest.size:
            powers = np.array([np.mean(np.square(self._rest))])
        loud = powers[powers > 10 ** (_ABSOLUTE_GATE_DBFS / 10)]
        if loud.size == 0:
            return -math.inf
        gate = float(loud.mean(dtype=np.float64)) * 10 ** (-_RELATIVE_GATE_DB / 10)
        return 10.0 * math.log10(float(loud[loud >= gate].mean(dtype=np.float64)))


def gain_for(level: float, target: float, peak: float) -> float:
    """Return the factor that brings `level` to `target` (both in dBFS), lowered if a sample would clip.

    Args:
        peak: the largest sample, 1.0 is full scale; after the gain it is at most -1 dBFS.
    """
    if not math.isfinite(level) or peak <= 0.0:
        return 1.0
    ceiling = 10 ** (-1 / 20)
    wanted = float(10 ** ((target - level) / 20))
    # A request for louder audio does not lower speech that is above the ceiling already.
    return min(wanted, max(ceiling / peak, 1.0))

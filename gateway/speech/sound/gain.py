"""Applies gains to samples."""

from __future__ import annotations

import numpy as np

from gateway.speech.sound.take import Pcm16


def factor(gain_db: float) -> float:
    """Return the factor of a gain in dB."""
    return float(10 ** (gain_db / 20))


def amplified(pcm: Pcm16, gain: float) -> Pcm16:
    """Multiply samples by a factor; those beyond full scale are limited to it. 1.0 returns `pcm` itself."""
    if gain == 1.0:
        return pcm
    louder = pcm.astype(np.float32) * np.float32(gain)
    np.rint(louder, out=louder)
    np.clip(louder, -32768, 32767, out=louder)
    return louder.astype(np.int16)

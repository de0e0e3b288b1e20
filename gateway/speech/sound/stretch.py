"""Changes the tempo of speech by WSOLA: moves windows in time, each to where it best continues the last one.

Verhelst and Roelands, "An overlap-add technique based on waveform similarity (WSOLA)", ICASSP 1993.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gateway.errors import InvalidInput
from gateway.speech.sound.time_map import TimeMap
from gateway.speech.text.plan import FASTEST, SLOWEST

_WINDOW_MS = 25
_SEARCH_MS = 8
_COARSE_RATE = 6000  # Hz; enough to find the pitch period, then refined at the full rate
_BLOCK = 4096  # hops joined at once, so that memory stays small for a take of any length


def stretch(pcm: npt.NDArray[np.float32], rate: int, speed: float) -> tuple[npt.NDArray[np.float32], TimeMap]:
    """Change the tempo of speech and keep its pitch.

    Args:
        pcm: mono samples of any scale, shape (n,), at `rate` Hz.
        speed: 0.5 to 2.0; 2.0 halves the duration. 1.0 returns `pcm` itself.

    Returns:
        Exactly round(n / speed) samples, and where the samples of `pcm` are in them.

    Raises:
        InvalidInput: speed is outside its range.
    """
    if not SLOWEST <= speed <= FASTEST:
        raise InvalidInput(f"speed must be between {SLOWEST} and {FASTEST}, got {speed}")
    if speed == 1.0 or pcm.size == 0:
        return pcm, TimeMap(np.zeros(1, np.intp), 2 * pcm.size, pcm.size)
    n_out = round(pcm.size / speed)
    hop = max(1, rate * _WINDOW_MS // 2000)
    search = max(1, rate * _SEARCH_MS // 1000)
    hops = max(1, -(-n_out // hop))
    lead = search + hop
    padded = np.zeros(lead + pcm.size + 3 * hop + 2 * search + int(hop * speed), np.float32)
    padded[lead : lead + pcm.size] = pcm
    starts = _starts(padded, lead, hop, search, hops, speed, rate)
    return _overlap_add(padded, starts, hop)[:n_out], TimeMap(starts - lead, hop, n_out)


def _starts(
    x: npt.NDArray[np.float32], lead: int, hop: int, search: int, hops: int, speed: float, rate: int
) -> npt.NDArray[np.intp]:
    """Return the position in `x` at which the window of each hop begins.

    The natural continuation of the last window is compared, by normalised cross-correlation, with every position
    within `search` of the one that the tempo asks for: first decimated, then sample by sample.
    """
    step = max(1, rate // _COARSE_RATE)
    window = 2 * hop
    coarse = _decimate(x, step)
    energy = np.concatenate(([0.0], np.cumsum(np.square(x, dtype=np.float64))))
    c_window, c_search = window // step, search // step
    c_energy = np.concatenate(([0.0], np.cumsum(np.square(coarse, dtype=np.float64))))
    floor = 1e-9 * float(energy[-1]) / x.size * window + 1e-12
    starts = np.empty(hops, np.intp)
    at = lead
    last_start = x.size - window - search - step
    for nth in range(hops):
        if nth:
            wanted = min(lead + round(nth * hop * speed), last_start)
            natural = at + hop
            if energy[natural + window] - energy[natural] <= floor:
                at = wanted
            elif abs(natural - wanted) <= step:
                at = natural
            else:
                ref = coarse[natural // step : natural // step + c_window]
                low = wanted // step - c_search
                span = coarse[low : low + c_window + 2 * c_search]
                score = np.correlate(span, ref)
                e = c_energy[low + c_window : low + c_window + score.size] - c_energy[low : low + score.size]
                score /= np.sqrt(e + floor)
                # `natural` is not on the coarse grid, so its remainder is added.
                guess = (low + int(score.argmax())) * step + natural % step
                first = max(wanted - search, guess - step)
                final = min(wanted + search, guess + step)
                fine = np.correlate(x[first : final + window], x[natural : natural + window])
                e = energy[first + window : first + window + fine.size] - energy[first : first + fine.size]
                fine /= np.sqrt(e + floor)
                at = first + int(fine.argmax())
        starts[nth] = at
    return starts


def _decimate(x: npt.NDArray[np.float32], step: int) -> npt.NDArray[np.float32]:
    """Return the means of `step` samples; a rough low-pass is enough, since the search is refined afterwards."""
    if step == 1:
        return x
    whole = x.size // step
    means: npt.NDArray[np.float32] = x[: whole * step].reshape(whole, step).mean(axis=1)
    return means


def _overlap_add(x: npt.NDArray[np.float32], starts: npt.NDArray[np.intp], hop: int) -> npt.NDArray[np.float32]:
    """Join the windows with a periodic Hann, whose halves add up to one; the first begins without a fade."""
    rise = (0.5 - 0.5 * np.cos(np.pi * np.arange(hop) / hop)).astype(np.float32)
    falling_from = np.concatenate((starts[:1], starts[:-1] + hop))
    out = np.empty((starts.size, hop), np.float32)
    offsets = np.arange(hop)
    for first in range(0, starts.size, _BLOCK):
        block = slice(first, first + _BLOCK)
        rising = x[starts[block, None] + offsets]
        falling = x[falling_from[block, None] + offsets]
        out[block] = falling + (rising - falling) * rise
    return out.reshape(-1)

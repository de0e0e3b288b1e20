"""Where the samples of a take are after it was stretched."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.intp]


class TimeMap:
    """Finds where the samples of a take are after it was stretched.

    WSOLA copies windows and cross-fades them. Each sample of the result comes from the window that is louder there, so
    the result is a row of pieces of the take. In slow speech the samples around a joint are in two pieces; the middle
    between their first and their last place is taken, so that places never go backwards.

    Args:
        starts: the position in the take of each window, shape (n,).
        hop: samples of the result between two windows; a window has two hops.
        size: samples of the result.
    """

    def __init__(self, starts: Samples, hop: int, size: int) -> None:
        half = hop // 2
        self._size = size
        self._at = np.arange(starts.size) * hop + half  # where each piece begins in the result, and in the take:
        self._begins = starts + half
        self._at[0], self._begins[0] = 0, starts[0]  # the first window has no fade
        ends = starts + half + hop
        self._latest_end = np.maximum.accumulate(ends)
        self._earliest_begin = np.minimum.accumulate(self._begins[::-1])[::-1]
        self._lengths = ends - self._begins

    def __getitem__(self, at: Samples) -> Samples:
        """Return the places in the result of the cuts before the samples `at` of the take."""
        piece = np.minimum(np.searchsorted(self._latest_end, at, "right"), self._at.size - 1)
        first = self._at[piece] + np.maximum(at - self._begins[piece], 0)
        piece = np.maximum(np.searchsorted(self._earliest_begin, at, "left") - 1, 0)
        last = self._at[piece] + np.clip(at - self._begins[piece], 0, self._lengths[piece])
        places: Samples = np.minimum((first + last) // 2, self._size)
        return places

"""Adds upstream's watermark to takes, in threads, while the next chunks are decoded."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from backends.interface import Pcm


class WatermarkPool:
    """A thread pool that watermarks takes; NumPy, SciPy and PyTorch release the GIL, so decoding goes on meanwhile.

    Args:
        watermarker: upstream's perth watermarker, on the CPU.
        rate: of the takes, in Hz.
    """

    def __init__(self, watermarker: Any, rate: int, threads: int = 1) -> None:
        self._watermarker = watermarker
        self._rate = rate
        self._pool = ThreadPoolExecutor(threads, "watermark")

    def submit(self, pcm: Pcm) -> Future[Pcm]:
        """Return a future of the marked take."""
        return self._pool.submit(self._mark, pcm)

    def close(self) -> None:
        """Cancel waiting takes and end the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _mark(self, pcm: Pcm) -> Pcm:
        with torch.inference_mode():  # per thread; without it perth keeps the autograd graph of every take
            marked: Pcm = np.ascontiguousarray(
                self._watermarker.apply_watermark(pcm, sample_rate=self._rate), np.float32
            )
        return marked

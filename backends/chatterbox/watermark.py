"""Upstream's watermark, put on takes in threads of their own while the next chunks are decoded."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from backends.interface import Pcm


class WatermarkPool:
    """Marks takes; NumPy, SciPy and PyTorch let go of the interpreter, so decoding goes on meanwhile.

    Args:
        watermarker: upstream's perth watermarker, on the CPU.
        rate: of the takes, in Hz.
    """

    def __init__(self, watermarker: Any, rate: int, threads: int = 1) -> None:
        self._watermarker = watermarker
        self._rate = rate
        self._pool = ThreadPoolExecutor(threads, "watermark")

    def submit(self, pcm: Pcm) -> Future[Pcm]:
        """The marked take, in a while."""
        return self._pool.submit(self._mark, pcm)

    def close(self) -> None:
        """Drop what waits and end the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _mark(self, pcm: Pcm) -> Pcm:
        with torch.inference_mode():  # a thread's own; without it perth keeps the graph of every take
            marked: Pcm = np.ascontiguousarray(
                self._watermarker.apply_watermark(pcm, sample_rate=self._rate), np.float32
            )
        return marked

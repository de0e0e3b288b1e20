"""The key-value cache of the token decoder: allocated before it is needed, grown in blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

BLOCK = 64
"""Positions it grows by; attention also looks at whole blocks, so that few shapes occur."""

Allocate: TypeAlias = Callable[[tuple[int, ...], torch.dtype, torch.device], torch.Tensor]
"""Gives a tensor of zeros. A seam: tests pass one that runs out of memory."""


def allocate_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The allocator of PyTorch."""
    return torch.zeros(shape, dtype=dtype, device=device)


def in_blocks(positions: int) -> int:
    """The next multiple of BLOCK."""
    return -(-positions // BLOCK) * BLOCK


class KvCache:
    """Keys and values of `rows` sequences, one tensor (rows, heads, positions, head width) per layer.

    Zeros, not rubbish, where nothing was written: masked attention weighs such a position with 0, and 0 times NaN
    would be NaN.
    """

    def __init__(
        self, layers: int, rows: int, heads: int, width: int, dtype: torch.dtype, device: torch.device,
        allocate: Allocate,
    ) -> None:  # fmt: skip
        self._shape = (rows, heads, width)
        self._dtype, self._device, self._allocate = dtype, device, allocate
        self.keys = [self._empty(BLOCK) for _ in range(layers)]
        self.values = [self._empty(BLOCK) for _ in range(layers)]

    @property
    def positions(self) -> int:
        """Positions each row has room for."""
        return int(self.values[-1].shape[2])

    def reserve(self, positions: int) -> None:
        """Make room for so many positions; what is stored stays. Layer by layer, so no more than one is there twice."""
        need = in_blocks(positions)
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                if old.shape[2] < need:
                    new = self._empty(need)
                    new[:, :, : old.shape[2]] = old
                    tensors[layer] = new

    def move(self, source: int, target: int) -> None:
        """Copy a row over another."""
        for tensor in (*self.keys, *self.values):
            tensor[target] = tensor[source]

    def clear(self, row: int) -> None:
        """Forget a row, NaN included."""
        for tensor in (*self.keys, *self.values):
            tensor[row].zero_()

    def _empty(self, positions: int) -> torch.Tensor:
        rows, heads, width = self._shape
        return self._allocate((rows, heads, positions, width), self._dtype, self._device)

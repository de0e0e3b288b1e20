"""The key-value cache of the token decoder: allocated in advance, in blocks of positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

BLOCK = 64
"""Positions the cache grows by; attention also reads whole blocks, so that few shapes occur."""

Allocate: TypeAlias = Callable[[tuple[int, ...], torch.dtype, torch.device], torch.Tensor]
"""A function that returns a tensor of zeros; tests pass one that runs out of memory."""


def allocate_zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Allocate zeros with PyTorch."""
    return torch.zeros(shape, dtype=dtype, device=device)


def in_blocks(positions: int) -> int:
    """Round up to a multiple of BLOCK."""
    return -(-positions // BLOCK) * BLOCK


class KvCache:
    """Keys and values of sequences, one tensor (rows, heads, positions, head width) per layer.

    Positions that were not written must be zero: masked attention multiplies them by 0, and 0 times NaN would be NaN.

    Args:
        shape: rows, heads and head width.
    """

    def __init__(
        self,
        layers: int,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        device: torch.device,
        allocate: Allocate,
    ) -> None:
        self._shape = shape
        self._dtype, self._device, self._allocate = dtype, device, allocate
        self.keys = [self._empty(BLOCK) for _ in range(layers)]
        self.values = [self._empty(BLOCK) for _ in range(layers)]

    @property
    def positions(self) -> int:
        """Number of positions in each row."""
        return int(self.values[-1].shape[2])

    def reserve(self, positions: int) -> None:
        """Grow to at least `positions` and keep the content. Layer by layer: only one layer exists twice at a time."""
        need = in_blocks(positions)
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                if old.shape[2] < need:
                    new = self._empty(need)
                    new[:, :, : old.shape[2]] = old
                    tensors[layer] = new

    def move(self, source: int, target: int) -> None:
        """Copy row `source` to row `target`."""
        for tensor in (*self.keys, *self.values):
            tensor[target] = tensor[source]

    def clear(self, row: int) -> None:
        """Set a row to zero, which also removes NaN."""
        for tensor in (*self.keys, *self.values):
            tensor[row].zero_()

    def _empty(self, positions: int) -> torch.Tensor:
        rows, heads, width = self._shape
        return self._allocate((rows, heads, positions, width), self._dtype, self._device)

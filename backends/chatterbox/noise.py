"""Exponential noise for sampling: one row from the random stream of each chunk."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

from backends.chatterbox.draws import Draws


class Noise:
    """Draws Exponential(1) numbers with the same bits as `Tensor.exponential_` with each row's generator.

    On most CPUs PyTorch makes each number from one uniform double, one after the other. Drawing the uniforms of a row
    and taking the logarithms of all rows at once gives the same bits in a third of the time.
    """

    def __init__(self, draws: Sequence[Draws], device: torch.device) -> None:
        self._draws = draws
        self._of_uniforms = device.type == "cpu" and _uniforms_match()
        self._buffer = torch.empty(0, dtype=torch.float64 if self._of_uniforms else torch.float32, device=device)

    def like(self, p: torch.Tensor) -> torch.Tensor:
        """Draw the next numbers, (rows, any) float32 in the shape of `p`."""
        if self._buffer.shape != p.shape:
            self._buffer = self._buffer.new_empty(p.shape)
        if not self._of_uniforms:
            for row, draws in zip(self._buffer, self._draws, strict=True):
                row.exponential_(1, generator=draws.generator)
            return self._buffer
        for row, draws in zip(self._buffer, self._draws, strict=True):
            row.uniform_(generator=draws.generator)
        return _exponential(self._buffer)


@functools.cache
def _uniforms_match() -> bool:
    """Return whether `exponential_` is -log(1 - u) of the generator's doubles; on Intel's processors it is not."""
    theirs, ours = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    expected = torch.empty(4096).exponential_(1, generator=theirs)
    made = torch.rand(4096, dtype=torch.float64, generator=ours)
    return bool(torch.equal(expected, _exponential(made)) and torch.equal(theirs.get_state(), ours.get_state()))


def _exponential(uniform: torch.Tensor) -> torch.Tensor:
    return uniform.neg_().add_(1).log_().neg_().float()

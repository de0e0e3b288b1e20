"""The random numbers of one chunk: a stream of its own, so that other chunks never change its sound."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


class Draws:
    """Random generators of one chunk, used by all stages in upstream's order.

    Upstream draws from the device's default generator, and the phases of its vocoder always from the CPU's. On the CPU
    both are one stream, and the bytes equal upstream's after `torch.manual_seed(seed)`.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed = seed
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)
        self._cpu = self.generator if device.type == "cpu" else torch.Generator().manual_seed(seed)

    def again(self) -> Draws:
        """Return a new stream with the same numbers, from the beginning."""
        return Draws(self.seed, self.device)

    def state(self) -> tuple[torch.Tensor, ...]:
        """Return the position of the streams, for `restore`: failed work is repeated with the same numbers."""
        return self.generator.get_state(), self._cpu.get_state()

    def restore(self, state: tuple[torch.Tensor, ...]) -> None:
        """Go back to a position from `state`."""
        self.generator.set_state(state[0])
        self._cpu.set_state(state[1])

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Make PyTorch's default generators draw from this chunk's streams inside the block."""
        pairs = [(_default(torch.device("cpu")), self._cpu)]
        if self._cpu is not self.generator:
            pairs.append((_default(self.device), self.generator))
        before = [default.get_state() for default, _ in pairs]
        for default, own in pairs:
            default.set_state(own.get_state())
        try:
            yield
        finally:
            for (default, own), state in zip(pairs, before, strict=True):
                own.set_state(default.get_state())
                default.set_state(state)


def _default(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()
    return torch.default_generator

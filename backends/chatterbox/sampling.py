"""Samples the next token of all rows at once, each with its own options and random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from backends.chatterbox.device import to_device
from backends.chatterbox.draws import Draws
from backends.chatterbox.knobs import Knobs
from backends.chatterbox.noise import Noise


class Sampler:
    """Samples tokens; it holds the options of the rows as tensors (rows, 1).

    The order is upstream's: guidance, repetition penalty, temperature, min_p, top_p. The token is the argmax of
    p / Exponential(1), as `torch.multinomial` draws one sample: the same seed gives the same token.
    """

    def __init__(self, knobs: Sequence[Knobs], draws: Sequence[Draws], device: torch.device) -> None:
        table = torch.tensor(
            [(one.cfg_weight, one.repetition_penalty, one.temperature, one.min_p, one.top_p) for one in knobs],
            dtype=torch.float32,
        )
        columns = to_device(table, device)[:, :, None].unbind(1)
        self._cfg, self._penalty, self._temperature, self._min_p, self._top_p = columns
        self._uses_min_p = any(one.min_p > 0 for one in knobs)
        self._uses_top_p = any(one.top_p < 1 for one in knobs)
        self._noise = Noise(draws, device)

    def choose(self, conditional: torch.Tensor, unconditional: torch.Tensor, spoken: torch.Tensor) -> torch.Tensor:
        """Choose the next token of each row, -1 for a row whose logits are not finite.

        Args:
            conditional, unconditional: (rows, vocabulary) float32 logits.
            spoken: (rows, any) int64, tokens that were chosen before; a token may occur more than once.
        """
        logits = (conditional - unconditional).mul_(self._cfg).add_(conditional)
        broken = ~torch.isfinite(logits.sum(-1))  # an infinity or NaN makes the sum not finite
        old = logits.gather(1, spoken)
        logits.scatter_(1, spoken, torch.where(old < 0, old * self._penalty, old / self._penalty))
        logits.div_(self._temperature)
        if self._uses_min_p:
            p = torch.softmax(logits, -1)
            logits.masked_fill_(p < self._min_p * p.amax(-1, keepdim=True), -torch.inf)
        if self._uses_top_p:
            logits = self._nucleus(logits)
        p = torch.softmax(logits, -1)
        return torch.where(broken, -1, p.div_(self._noise.like(p)).argmax(-1))

    def _nucleus(self, logits: torch.Tensor) -> torch.Tensor:
        rising, order = torch.sort(logits, descending=False)
        drop = rising.softmax(-1).cumsum(-1) <= 1 - self._top_p
        drop[:, -1] = False
        return logits.masked_fill(drop.scatter(1, order, drop), -torch.inf)

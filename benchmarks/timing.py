"""Times parts of Chatterbox: upstream's token loop, ours, and a lower bound for both."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")  # upstream draws a bar for each chunk

import msgspec
import torch
import torch.nn.functional as F

from backends.chatterbox.knobs import Knobs
from backends.chatterbox.t3 import T3Decoder
from benchmarks.decoding import TEXTS, job, upstream_tokens

COMPARED = 4
"""Chunks whose tokens are compared with upstream's; with more, upstream would take longer than all the rest."""


class Decoding(msgspec.Struct, frozen=True):
    """Tokens per second of all chunks together, without prompts; and the tokens of each chunk."""

    per_s: float
    tokens: list[list[int]]


def cpu() -> float:
    """Return CPU seconds of this process: stable on a machine with other load."""
    return time.process_time()


def wall_on_device() -> float:
    """Return wall seconds after the GPU has finished its work."""
    torch.cuda.synchronize()
    return time.perf_counter()


def upstream(model: Any, most: int, clock: Callable[[], float], compared: int = COMPARED) -> Decoding:
    """Run upstream's loop, chunk by chunk; the time of a run of one token, the prompt's share, is subtracted."""
    knobs = Knobs()
    upstream_tokens(model, TEXTS[0], knobs, 0, 2)  # warm
    began = clock()
    upstream_tokens(model, TEXTS[0], knobs, 100, 1)
    prompt_s = clock() - began
    tokens, spent = [], 0.0
    for nth in range(compared):
        began = clock()
        tokens.append(upstream_tokens(model, TEXTS[nth], knobs, 100 + nth, most))
        spent += clock() - began - prompt_s
    return Decoding(compared * (most - 1) / spent, tokens)


def batched(model: Any, size: int, most: int, clock: Callable[[], float], **options: Any) -> Decoding:
    """Run our decoder with `size` chunks at a time."""
    decoder = T3Decoder(model.t3, slots=size, **options)
    tokens: dict[int, list[int]] = {}
    for warm in (True, False):
        steps = min(most, 3) if warm else most
        with torch.inference_mode():
            decoder.add([job(model, n, TEXTS[n % len(TEXTS)], Knobs(), 100 + n, steps) for n in range(size)])
            first = decoder.step()  # the first token comes from the prompts' pass; each later one costs a pass
            began = clock()
            while decoder.active:
                first += decoder.step()
            spent = clock() - began
        tokens = {decoded.job.key: decoded.tokens for decoded in first}
    return Decoding(size * (most - 1) / spent, [tokens[n] for n in range(size)])


def floor_s(model: Any, clock: Callable[[], float], dtype: torch.dtype = torch.float32) -> float:
    """Return seconds of one pass of two rows through T3's matrices alone: a lower bound for a decoder of one chunk."""
    matrices = [
        weight.detach().to(dtype)
        for layer in model.t3.tfmr.layers
        for name, weight in layer.named_parameters()
        if weight.ndim == 2
    ]
    matrices.append(model.t3.speech_head.weight.detach().to(dtype))
    inputs = {width: torch.randn(2, width, dtype=dtype, device=matrices[0].device) for width in
              {matrix.shape[1] for matrix in matrices}}  # fmt: skip
    best = float("inf")
    with torch.inference_mode():
        for _ in range(4):
            began = clock()
            for matrix in matrices:
                F.linear(inputs[matrix.shape[1]], matrix)
            best = min(best, clock() - began)
    return best

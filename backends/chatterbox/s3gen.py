"""From speech tokens to sound: the mel decoder in batches of like length, the vocoder row by row.

Upstream runs one row at a time. Its layers are causal or masked but for one: the look-ahead of the encoder sees rows
of padding that a bias has made non-zero, so those are set to zero again here.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from backends.chatterbox.cache import Allocate, allocate_zeros
from backends.chatterbox.draws import Draws
from backends.interface import Pcm

VALID_TOKENS = 6561
"""Speech tokens below this are sounds; the others are marks."""

_BUCKET = 64  # tokens; that much any rows of a batch may differ
_MELS = 80


class Speech:
    """The tokens of one chunk, to be heard.

    Args:
        key: the caller's name for it.
        tokens: (n,) int64, all below VALID_TOKENS, n > 0.
        gen: the voice for the mel decoder; see VoiceConds.
        draws: the chunk's random numbers after its tokens were drawn.
    """

    def __init__(self, key: int, tokens: torch.Tensor, gen: dict[str, Any], draws: Draws) -> None:
        self.key = key
        self.tokens = tokens
        self.gen = gen
        self.draws = draws

    @property
    def length(self) -> int:
        """Tokens the mel decoder works on: those of the reference recording and its own."""
        return int(self.gen["prompt_token"].shape[1]) + int(self.tokens.shape[0])


def bucket(waiting: Sequence[Speech], rows: int) -> list[Speech]:
    """The speech that waits longest, and up to `rows` - 1 others of about its length."""
    first = waiting[0]
    apart = max(_BUCKET, first.length // 4)  # what rows are padded costs a quarter at most
    alike = [speech for speech in waiting if abs(speech.length - first.length) < apart]
    return alike[:rows]


def decode_mels(
    s3gen: Any, speeches: Sequence[Speech], steps: int = 10, allocate: Allocate = allocate_zeros
) -> list[torch.Tensor]:
    """One batch through the mel decoder.

    Args:
        s3gen: upstream's S3Gen.
        steps: Euler steps from noise to mel.

    Returns:
        A mel (80, 2 n) for each, 50 frames a second. A batch of one has upstream's bytes after the same seed; in
        larger ones products round differently, about 1e-6 of full scale.
    """
    flow, device = s3gen.flow, s3gen.device
    lengths = [speech.length for speech in speeches]
    rows, longest = len(speeches), max(lengths)
    tokens = torch.zeros(rows, longest, dtype=torch.int64, device=device)
    for row, speech in enumerate(speeches):
        tokens[row, : lengths[row]] = torch.cat([speech.gen["prompt_token"][0], speech.tokens.to(device)])
    counts = torch.tensor(lengths, device=device)
    hidden = flow.input_embedding(tokens) * _mask(counts, longest)[..., None]
    mu = flow.encoder_proj(_encode(flow.encoder, hidden, counts)).transpose(1, 2).contiguous()
    frames = mu.shape[2]
    reference = allocate((rows, _MELS, frames), mu.dtype, device)
    noise = allocate((rows, _MELS, frames), mu.dtype, device)
    for row, speech in enumerate(speeches):
        heard = speech.gen["prompt_feat"][0].T
        reference[row, :, : heard.shape[1]] = heard
        own = 2 * lengths[row]
        noise[row, :, :own] = torch.randn(
            1, _MELS, own, generator=speech.draws.generator, device=device, dtype=mu.dtype
        )[0]
    speakers = torch.cat([torch.atleast_2d(speech.gen["embedding"]) for speech in speeches])
    ramp = torch.linspace(0, 1, steps + 1, device=device, dtype=mu.dtype)
    mask = _mask(2 * counts, frames)[:, None].to(mu.dtype)
    with _masks(needed=min(lengths) < longest):
        mel = flow.decoder.solve_euler(
            noise,
            t_span=1 - torch.cos(ramp * 0.5 * math.pi),
            mu=mu * mask,
            mask=mask,
            spks=flow.spk_embed_affine_layer(F.normalize(speakers, dim=1)),
            cond=reference,
        )
    return [mel[row, :, speech.gen["prompt_feat"].shape[1] : 2 * lengths[row]] for row, speech in enumerate(speeches)]


def vocode(s3gen: Any, mel: torch.Tensor, draws: Draws) -> Pcm:
    """The sound of one mel, faded in as upstream does; without a watermark.

    One row at a time: the vocoder's convolutions look both ways, and padding would be heard at the end.
    """
    with draws.lent():
        wave, _ = s3gen.hift_inference(mel[None])
    wave[:, : len(s3gen.trim_fade)] *= s3gen.trim_fade
    pcm: Pcm = np.asarray(wave[0].cpu().numpy(), np.float32)
    return pcm


def _encode(encoder: Any, x: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    mask = _mask(counts, x.shape[1])[:, None]
    x, positions, mask = encoder.embed(x, mask)
    x = encoder.pre_lookahead_layer(x * mask.transpose(1, 2))
    x = encoder.forward_layers(x, mask, positions, mask)
    x, counts = encoder.up_layer(x.transpose(1, 2).contiguous(), counts)
    x = x.transpose(1, 2).contiguous()
    mask = _mask(counts, x.shape[1])[:, None]
    x, positions, mask = encoder.up_embed(x, mask)
    x = encoder.forward_up_layers(x, mask, positions, mask)
    normed: torch.Tensor = encoder.after_norm(x)
    return normed


def _mask(counts: torch.Tensor, longest: int) -> torch.Tensor:
    """(rows, longest) bool: where there is something."""
    return torch.arange(longest, device=counts.device) < counts[:, None]


@contextlib.contextmanager
def _masks(needed: bool) -> Iterator[None]:
    """Let upstream's estimator make no more of its masks than it must.

    It looks at each of them on the host, 14 times a step, to warn of an empty row; we have none. Where no row is padded
    the masks say nothing: attention then adds no zeros to its scores, and a GPU may take its fastest kernel.
    """
    decoder: Any = importlib.import_module("chatterbox.models.s3gen.decoder")
    theirs = decoder.add_optional_chunk_mask, decoder.mask_to_bias
    decoder.add_optional_chunk_mask = lambda _, masks, *rest: masks
    if not needed:
        decoder.mask_to_bias = lambda *_: None
    try:
        yield
    finally:
        decoder.add_optional_chunk_mask, decoder.mask_to_bias = theirs

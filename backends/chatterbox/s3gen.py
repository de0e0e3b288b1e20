"""Turns speech tokens into sound: the mel decoder in batches of similar length, the vocoder row by row.

Upstream runs one row at a time. Its layers are causal or masked, except one: the look-ahead of the encoder reads
padding that a bias has made non-zero, so the padding is set to zero again here.
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
"""Speech tokens below this are sounds; the others are control tokens."""

_BUCKET = 64  # tokens by which the rows of a batch may always differ
_MELS = 80


class Speech:
    """The speech tokens of one chunk, input of the mel decoder.

    Args:
        key: id of the chunk.
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
        """Number of tokens the mel decoder reads: those of the voice's recording and of the chunk."""
        return int(self.gen["prompt_token"].shape[1]) + int(self.tokens.shape[0])


def bucket(waiting: Sequence[Speech], rows: int) -> list[Speech]:
    """Choose a batch: the speech that waits longest, and up to `rows` - 1 others of similar length."""
    first = waiting[0]
    apart = max(_BUCKET, first.length // 4)  # padding costs a quarter at most
    alike = [speech for speech in waiting if abs(speech.length - first.length) < apart]
    return alike[:rows]


def decode_mels(
    s3gen: Any, speeches: Sequence[Speech], steps: int = 10, allocate: Allocate = allocate_zeros
) -> list[torch.Tensor]:
    """Run one batch through the mel decoder.

    Args:
        s3gen: upstream's S3Gen.
        steps: Euler steps from noise to mel.

    Returns:
        A mel (80, 2 n) for each, 50 frames a second. A batch of one has upstream's bytes for the same seed; in larger
        batches products round differently, by about 1e-6 of full scale.
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
        prompt = speech.gen["prompt_feat"][0].T
        reference[row, :, : prompt.shape[1]] = prompt
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
    """Turn one mel into samples, faded in as upstream does; without a watermark.

    One row at a time: the vocoder's convolutions read both ways, and padding would change the end of the sound.
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
    """Return a mask (rows, longest) bool, true below each row's count."""
    return torch.arange(longest, device=counts.device) < counts[:, None]


@contextlib.contextmanager
def _masks(needed: bool) -> Iterator[None]:
    """Save work with masks in upstream's estimator inside the block.

    Upstream reads each mask on the host, 14 times a step, to warn of an empty row; there is none. If no row is padded,
    masks are not needed: attention then adds no zeros to its scores, and a GPU can use its fastest kernel.
    """
    decoder: Any = importlib.import_module("chatterbox.models.s3gen.decoder")
    original = decoder.add_optional_chunk_mask, decoder.mask_to_bias
    decoder.add_optional_chunk_mask = lambda _, masks, *rest: masks
    if not needed:
        decoder.mask_to_bias = lambda *_: None
    try:
        yield
    finally:
        decoder.add_optional_chunk_mask, decoder.mask_to_bias = original

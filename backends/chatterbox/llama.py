"""The transformer of T3 (Llama, 30 layers), without the attention maps and hidden states that decoding ignores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from backends.chatterbox.cache import Allocate, KvCache


class _Layer(NamedTuple):
    norm_in: torch.Tensor
    qkv: torch.Tensor
    out: torch.Tensor
    norm_mid: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


class Llama:
    """A Llama with upstream's weights; projections of the same input are fused into one product.

    Args:
        tfmr: upstream's LlamaModel; it is only read.
        dtype: of weights and activations.
        beat: called before each layer; an exception aborts the pass.
    """

    def __init__(self, tfmr: Any, dtype: torch.dtype, beat: Callable[[], object] = lambda: None) -> None:
        self._beat = beat
        config = tfmr.config
        self.dtype = dtype
        self.heads, self.width = int(config.num_attention_heads), int(config.head_dim)
        if config.num_key_value_heads != self.heads:
            raise ValueError("T3 without grouped-query attention is expected")
        self._eps = float(config.rms_norm_eps)
        self._rotary = tfmr.rotary_emb
        self.layers = [_fuse(layer, dtype) for layer in tfmr.layers]
        self._norm = tfmr.norm.weight.detach().to(dtype)
        self.device = self._norm.device
        self._cos = self._sin = torch.zeros(0, self.width, dtype=dtype, device=self.device)

    @property
    def size(self) -> int:
        """Number of parameters read in each step."""
        return sum(tensor.numel() for layer in self.layers for tensor in layer)

    def new_cache(self, rows: int, allocate: Allocate) -> KvCache:
        """Allocate a cache for this model."""
        return KvCache(len(self.layers), (rows, self.heads, self.width), self.dtype, self.device, allocate)

    def forward(self, x: torch.Tensor, at: torch.Tensor, cache: KvCache, first: int, span: int) -> torch.Tensor:
        """Run new positions of consecutive rows with causal attention; store their keys and values in the cache.

        Args:
            x: (rows, new, hidden) embeddings.
            at: (rows, new) int64, the position of each.
            first: the cache row of the first row of `x`.
            span: number of positions attention reads, above all of `at`; the cache must have them.

        Returns:
            (rows, new, hidden) last hidden states, normalised.
        """
        rows, new, hidden = x.shape
        self._extend_rotary(span)
        cos, sin = self._cos[at][:, :, None, None], self._sin[at][:, :, None, None]
        unseen = torch.arange(span, device=x.device) > at[..., None]
        # An additive mask in the scores' type: each layer would convert any other kind to this one.
        mask = torch.zeros(unseen.shape, dtype=self.dtype, device=x.device).masked_fill_(unseen, -torch.inf)[:, None]
        row = torch.arange(first, first + rows, device=x.device)[:, None]
        own = slice(first, first + rows)
        for layer, keys, values in zip(self.layers, cache.keys, cache.values, strict=True):
            self._beat()
            qkv = F.linear(self._normed(x, layer.norm_in), layer.qkv).view(rows, new, 3, self.heads, self.width)
            turned = _rotate(qkv[:, :, :2], cos, sin)
            keys[row, :, at] = turned[:, :, 1]
            values[row, :, at] = qkv[:, :, 2]
            query = turned[:, :, 0].transpose(1, 2)
            attended = F.scaled_dot_product_attention(query, keys[own, :, :span], values[own, :, :span], attn_mask=mask)
            x = x + F.linear(attended.transpose(1, 2).reshape(rows, new, hidden), layer.out)
            gate, up = F.linear(self._normed(x, layer.norm_mid), layer.gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, layer.down)
        return self._normed(x, self._norm)

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self._eps)
        return weight * wide.to(x.dtype)

    def _extend_rotary(self, positions: int) -> None:
        if self._cos.shape[0] < positions:
            at = torch.arange(max(positions, 2 * self._cos.shape[0]), device=self.device)[None]
            cos, sin = self._rotary(torch.zeros(1, device=self.device), at)
            self._cos, self._sin = cos[0].to(self.dtype), sin[0].to(self.dtype)


def _fuse(layer: Any, dtype: torch.dtype) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp

    def joined(*modules: Any) -> torch.Tensor:
        return torch.cat([module.weight.detach().to(dtype) for module in modules])

    return _Layer(
        layer.input_layernorm.weight.detach().to(dtype),
        joined(attention.q_proj, attention.k_proj, attention.v_proj),
        joined(attention.o_proj),
        layer.post_attention_layernorm.weight.detach().to(dtype),
        joined(mlp.gate_proj, mlp.up_proj),
        joined(mlp.down_proj),
    )


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin

"""Prompts of the token decoder: the voice before the text, computed once and cached."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch

from backends.chatterbox.cache import Allocate, KvCache, in_blocks
from backends.chatterbox.conditionals import VoiceConds
from backends.chatterbox.llama import Llama

KEPT = 16
"""Number of cached prompts; one is about 20 MB in bf16."""


class Prompt:
    """A voice with an exaggeration, as input of T3.

    The unconditional prompt of a text is the voice and then text positions without text ("bare"): a prefix of the
    longest such prompt. The conditional prompt begins with the voice. So one pass over voice and bare positions serves
    all texts.

    Args:
        voice: (n, hidden) embeddings: speaker, perceiver, emotion.
        cache: keys and values of voice and bare positions in row 0.
        bare: number of text positions in it.
    """

    def __init__(self, voice: torch.Tensor, cache: KvCache | None, bare: int) -> None:
        self.voice = voice
        self.cache = cache
        self.bare = bare

    def __len__(self) -> int:
        return int(self.voice.shape[0])

    def copy_to(self, cache: KvCache, row: int, text: int) -> int:
        """Fill a row with the voice and `text` bare positions; return the number of positions written."""
        assert self.cache is not None
        n = len(self) + text
        for source, target in zip((*self.cache.keys, *self.cache.values), (*cache.keys, *cache.values), strict=True):
            target[row, :, :n] = source[0, :, :n]
        return n


class Prompts:
    """A cache of prompts; the least recently used are dropped.

    Args:
        t3: upstream's T3.
        reuse: keep keys and values too, not only embeddings.
        kept: number of cached prompts.
    """

    def __init__(self, t3: Any, llama: Llama, reuse: bool, allocate: Allocate, kept: int = KEPT) -> None:
        self._t3, self._llama, self._reuse, self._allocate, self._kept = t3, llama, reuse, allocate, kept
        self._known: OrderedDict[tuple[str, float], Prompt] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, conds: VoiceConds, exaggeration: float, text: int) -> Prompt:
        """Return the prompt of a voice for a text of `text` tokens."""
        key = (conds.key, exaggeration)
        found = self._known.get(key)
        if found is None or (self._reuse and found.bare < text):
            voice = self._embed(conds, exaggeration) if found is None else found.voice
            found = Prompt(voice, *(self._read(voice, text) if self._reuse else (None, 0)))
            self._known[key] = found
            while len(self._known) > self._kept:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return found

    def clear(self) -> None:
        """Drop all prompts and free their memory."""
        self._known.clear()

    def _embed(self, conds: VoiceConds, exaggeration: float) -> torch.Tensor:
        embedded: torch.Tensor = self._t3.prepare_conditioning(conds.t3_cond(exaggeration))
        return embedded[0].to(self._llama.dtype)

    def _read(self, voice: torch.Tensor, text: int) -> tuple[KvCache, int]:
        n = voice.shape[0]
        positions = self._t3.text_pos_emb.emb.weight
        bare = min(in_blocks(n + text) - n, positions.shape[0])
        x = torch.cat([voice, positions[:bare].to(voice.dtype)])[None]
        cache = self._llama.new_cache(1, self._allocate)
        cache.reserve(n + bare)
        self._llama.forward(x, torch.arange(n + bare, device=x.device)[None], cache, 0, n + bare)
        return cache, bare

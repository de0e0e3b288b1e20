"""Limits for upstream's `generate()`: a cap on its tokens, and the model restored after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

_MAX_TOKENS = 1000


class TokenBound:
    """Limits the speech tokens of a T3; upstream's `generate()` has no argument for that and takes 1000, 40 s.

    Args:
        t3: upstream's T3; its `inference` and `inference_turbo` are wrapped until `remove`.

    Attributes:
        cap: the limit for the next text.
        cut: the last text was cut at the limit, before its end token.
    """

    def __init__(self, t3: Any) -> None:
        self.cap = _MAX_TOKENS
        self.cut = False
        self._t3 = t3
        self._inference, self._inference_turbo = t3.inference, t3.inference_turbo
        t3.inference, t3.inference_turbo = self._bounded, self._bounded_turbo

    def remove(self) -> None:
        """Remove the wrappers from the T3."""
        for name in ("inference", "inference_turbo"):
            self._t3.__dict__.pop(name, None)

    def _bounded(self, **named: Any) -> Any:
        tokens = self._inference(**{**named, "max_new_tokens": self.cap})
        self.cut = int(tokens[0, -1]) != self._t3.hp.stop_speech_token
        return tokens

    def _bounded_turbo(self, **named: Any) -> Any:
        # Upstream does not count the first token and does not return the end token.
        tokens = self._inference_turbo(**{**named, "max_gen_len": self.cap - 1})
        self.cut = tokens.shape[1] >= self.cap
        return tokens


@contextlib.contextmanager
def restored(t3: Any) -> Iterator[None]:
    """Undo the changes of the multilingual model's alignment analyzer to a T3 after the block.

    For each text it adds hooks to three attention layers, which it never removes, and switches to slow attention.
    """
    config = t3.tfmr.config
    output, kind = config.output_attentions, config._attn_implementation
    before = {module: set(module._forward_hooks) for module in t3.tfmr.modules()}
    try:
        yield
    finally:
        for module, known in before.items():
            # Only upstream's hooks: transformers adds hooks at the first pass and needs them.
            added = [key for key, hook in module._forward_hooks.items() if hook.__module__.startswith("chatterbox.")]
            for key in set(added) - known:
                del module._forward_hooks[key]
        config.output_attentions = output
        config._attn_implementation = kind

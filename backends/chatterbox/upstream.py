"""Upstream's `generate()` kept within bounds: it stops in time, and leaves the model as it found it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

_MAX_TOKENS = 1000


class TokenBound:
    """Stops a T3 at so many speech tokens; upstream's `generate()` has no argument for that and takes 1000, 40 s.

    Args:
        t3: upstream's; its `inference` and `inference_turbo` are wrapped until `remove`.

    Attributes:
        cap: for the next text.
        cut: whether the last text was stopped there, without an end of its own.
    """

    def __init__(self, t3: Any) -> None:
        self.cap = _MAX_TOKENS
        self.cut = False
        self._t3 = t3
        self._inference, self._inference_turbo = t3.inference, t3.inference_turbo
        t3.inference, t3.inference_turbo = self._bounded, self._bounded_turbo

    def remove(self) -> None:
        """Leave the T3 as it was."""
        for name in ("inference", "inference_turbo"):
            self._t3.__dict__.pop(name, None)

    def _bounded(self, **named: Any) -> Any:
        tokens = self._inference(**{**named, "max_new_tokens": self.cap})
        self.cut = int(tokens[0, -1]) != self._t3.hp.stop_speech_token
        return tokens

    def _bounded_turbo(self, **named: Any) -> Any:
        # The first token is not counted, the end not returned.
        tokens = self._inference_turbo(**{**named, "max_gen_len": self.cap - 1})
        self.cut = tokens.shape[1] >= self.cap
        return tokens


@contextlib.contextmanager
def left_as_found(t3: Any) -> Iterator[None]:
    """Undo what the multilingual model's alignment analyzer does to a T3 each time it speaks.

    It hooks three attention layers, never to let go, and turns attention to the slow kind for good.
    """
    config = t3.tfmr.config
    output, kind = config.output_attentions, config._attn_implementation
    before = {module: set(module._forward_hooks) for module in t3.tfmr.modules()}
    try:
        yield
    finally:
        for module, known in before.items():
            # Only upstream's: transformers hooks modules too when they first speak, and counts on it.
            ours = [key for key, hook in module._forward_hooks.items() if hook.__module__.startswith("chatterbox.")]
            for key in set(ours) - known:
                del module._forward_hooks[key]
        config.output_attentions = output
        config._attn_implementation = kind

"""Heartbeats and cancel checks during long forward passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

INTERVAL_S = 0.1


class PassAborted(Exception):
    """Raised inside a model's forward pass when all its chunks are cancelled; it aborts the pass."""


class Pulse:
    """Calls `listen` from the layers of some models, at most once in INTERVAL_S.

    A take of the full model lasts a minute on a CPU, and reading a prompt or a voice some seconds. Without these calls
    the worker would count as hung, and a cancelled chunk would end only with a kill of the worker.

    Attributes:
        listen: asks the feed about the chunks of the pass; raises PassAborted when all are cancelled.
    """

    def __init__(self, *models: Any) -> None:
        self.listen: Callable[[], None] | None = None
        self._last = 0.0
        self._hooks = [layer.register_forward_pre_hook(self.beat) for model in models for layer in _layers(model)]

    def remove(self) -> None:
        """Remove the hooks from the models."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def beat(self, *_: Any) -> None:
        """Call `listen` when it is due. Code that is not a PyTorch module calls this itself."""
        now = time.monotonic()
        if self.listen is not None and now - self._last >= INTERVAL_S:
            self._last = now
            self.listen()


def _layers(model: Any) -> list[Any]:
    """List the layers in the model's module lists; the model's children if it has no such list."""
    from torch.nn import ModuleList  # not above: the gateway imports this module and has no PyTorch

    lists = [block for block in model.modules() if isinstance(block, ModuleList)]
    return [layer for block in lists for layer in block] or list(model.children())

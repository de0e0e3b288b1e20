"""Signs of life, and ears for a cancel, while a model computes for long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

INTERVAL_S = 0.1


class Abandoned(Exception):
    """Raised out of a model's forward pass when every chunk it worked for was cancelled."""


class Pulse:
    """Calls `listen` at most every INTERVAL_S from within the layers of some models.

    A take of the full model lasts a minute on a CPU, and reading a prompt or a voice some seconds. Without this, its
    worker would count as hung, and a cancelled chunk could only be ended by killing it.

    Attributes:
        listen: asks the feed about the chunks in hand; raises Abandoned when nobody wants them.
    """

    def __init__(self, *models: Any) -> None:
        self.listen: Callable[[], None] | None = None
        self._last = 0.0
        self._hooks = [layer.register_forward_pre_hook(self.beat) for model in models for layer in _layers(model)]

    def remove(self) -> None:
        """Leave the models as they were."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def beat(self, *_: Any) -> None:
        """Listen, if it is time to; what is no module calls this itself."""
        now = time.monotonic()
        if self.listen is not None and now - self._last >= INTERVAL_S:
            self._last = now
            self.listen()


def _layers(model: Any) -> list[Any]:
    """What is in its lists of layers; of a model without such lists, its parts."""
    from torch.nn import ModuleList  # not above: the gateway reads this module, and has no PyTorch

    lists = [block for block in model.modules() if isinstance(block, ModuleList)]
    return [layer for block in lists for layer in block] or list(model.children())

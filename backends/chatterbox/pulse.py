"""Signs of life, and ears for a cancel, while a model computes for long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

INTERVAL_S = 0.1


class Abandoned(Exception):
    """Raised out of a model's forward pass when every chunk it worked for was cancelled."""


class Pulse:
    """Calls `listen` at most every INTERVAL_S from within the layers of a model.

    A take of the full model lasts a minute on a CPU. Without this, its worker would count as hung, and a cancelled
    chunk could only be ended by killing it.

    Attributes:
        listen: asks the feed about the chunks in hand; raises Abandoned when nobody wants them.
    """

    def __init__(self, *models: Any) -> None:
        self.listen: Callable[[], None] | None = None
        self._last = 0.0
        self._hooks = [
            layer.register_forward_pre_hook(self._beat)
            for model in models
            for block in model.modules()
            if type(block).__name__ == "ModuleList"
            for layer in block
        ]

    def remove(self) -> None:
        """Leave the models as they were."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _beat(self, *_: Any) -> None:
        now = time.monotonic()
        if self.listen is not None and now - self._last >= INTERVAL_S:
            self._last = now
            self.listen()

"""Chatterbox as a worker runs it, but for the size of its modules."""

from __future__ import annotations

from support.chatterbox_checkpoints import tiny_chatterbox

from backends.chatterbox import ChatterboxBackend
from backends.interface import Progress


class TinyChatterbox(ChatterboxBackend):
    """Loads a tiny checkpoint; everything else is the real thing."""

    def load(self, progress: Progress) -> None:
        with tiny_chatterbox():
            super().load(progress)

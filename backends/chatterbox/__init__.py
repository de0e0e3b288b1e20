"""Chatterbox: expressive speech by Resemble AI's open models, on a CUDA GPU (or slowly on a CPU).

Source: chatterbox-tts 0.1.7 (MIT), as packaged by videopython-chatterbox 0.1.7.post2. Importing this package imports
nothing heavy: PyTorch comes with `load`.
"""

from __future__ import annotations

from backends.chatterbox.backend import ChatterboxBackend
from backends.chatterbox.settings import ChatterboxOptions, ChatterboxSettings

__all__ = ["ChatterboxBackend", "ChatterboxOptions", "ChatterboxSettings"]

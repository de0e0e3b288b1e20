"""Word segmentation of Chinese, which is written without spaces: upstream's segmenter, from the operator's files.

The multilingual model was trained on segmented text. Upstream downloads the segmenter's model from GitHub at each load,
for any language. Here nothing is downloaded: the files are in MODEL_CACHE_DIR, or Chinese is read unsegmented.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

FOLDER = "spacy_ontonotes"
"""Folder of the segmenter's model in MODEL_CACHE_DIR; the name of its archive."""

FILES = ("features.msgpack", "weights.npz")


class Segmenter:
    """A replacement of upstream's segmenter, which is loaded for the first Chinese text."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: Any = None

    def cut(self, text: str) -> list[str]:
        """Split a text into words.

        Raises:
            RuntimeError: the files cannot be loaded.
        """
        if self._made is None:
            try:
                self._made = importlib.import_module("spacy_pkuseg").pkuseg(str(self._folder))
            except Exception as error:
                kind = type(error).__name__
                raise RuntimeError(
                    f"the Chinese segmenter in {self._folder} cannot be loaded ({kind}): unpack it again, or remove it"
                ) from error
        words: list[str] = self._made.cut(text)
        return words


def find_segmenter(model_dir: Path) -> Segmenter | None:
    """Return the segmenter, if its files are in MODEL_CACHE_DIR and its package is installed; loads nothing."""
    folder = model_dir / FOLDER
    present = all((folder / name).is_file() for name in FILES)
    return Segmenter(folder) if present and importlib.util.find_spec("spacy_pkuseg") else None


def identity(model_dir: Path) -> tuple[int, ...]:
    """Return the segmenter's part of the revision: the sizes of its files, or nothing if they are missing."""
    paths = [model_dir / FOLDER / name for name in FILES]
    return tuple(path.stat().st_size for path in paths) if all(path.is_file() for path in paths) else ()

"""Where words end in Chinese, which is written without spaces: upstream's segmenter, from files the operator put here.

The multilingual model was trained on segmented text. Upstream gets the segmenter's model from GitHub whenever it loads,
whatever the language. Here nothing is fetched: the files are in MODEL_CACHE_DIR, or Chinese is read unsegmented.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

FOLDER = "spacy_ontonotes"
"""In MODEL_CACHE_DIR; the name of the archive of that model."""

FILES = ("features.msgpack", "weights.npz")


class Segmenter:
    """Stands where upstream's is; the real one is made when the first Chinese text comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: Any = None

    def cut(self, text: str) -> list[str]:
        """The words of a text.

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
    """The segmenter whose files are in MODEL_CACHE_DIR, if they are; loads nothing."""
    folder = model_dir / FOLDER
    there = all((folder / name).is_file() for name in FILES)
    return Segmenter(folder) if there and importlib.util.find_spec("spacy_pkuseg") else None


def identity(model_dir: Path) -> tuple[int, ...]:
    """Part of the revision of a model that reads Chinese: changes when the files come, go or change size."""
    paths = [model_dir / FOLDER / name for name in FILES]
    return tuple(path.stat().st_size for path in paths) if all(path.is_file() for path in paths) else ()

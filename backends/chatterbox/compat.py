"""What the packages under Chatterbox need before they can be imported beside a current PyTorch."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def prepare() -> None:
    """Make `import chatterbox.tts` work; call it first. Does nothing the second time.

    Raises:
        ImportError: PyTorch or torchaudio is not installed.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")  # upstream draws a bar for each chunk into our log
    ensure_pkg_resources()
    ensure_torchaudio()


def ensure_torchaudio() -> None:
    """Import torchaudio without its native extension where that cannot be loaded.

    The torchaudio 2.11 of PyPI is built for CUDA 13 and raises OSError beside a CPU build of PyTorch. Chatterbox,
    s3tokenizer and perth use its Python parts only (resampling, filter banks, spectrograms).
    """
    if "torchaudio" in sys.modules:
        return
    try:
        importlib.import_module("torchaudio")
    except OSError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        stub: Any = types.ModuleType("torchaudio._extension")
        stub._IS_TORCHAUDIO_EXT_AVAILABLE = stub._IS_ALIGN_AVAILABLE = False
        stub.fail_if_no_align = _without_alignment
        stub._check_cuda_version = lambda: None
        sys.modules["torchaudio._extension"] = stub
        importlib.import_module("torchaudio")


def ensure_pkg_resources() -> None:
    """Stand in for the part of pkg_resources that resemble-perth 1.0.1 needs to find its watermark model.

    setuptools 81 dropped that module; perth swallows the ImportError and then has no watermarker at all.
    """
    if importlib.util.find_spec("pkg_resources") is None:
        stub: Any = types.ModuleType("pkg_resources")
        stub.resource_filename = _resource_filename
        sys.modules["pkg_resources"] = stub


@contextlib.contextmanager
def files_from(folder: Path) -> Iterator[None]:
    """Let the multilingual tokenizer read its table of Chinese characters from `folder`, not from the hub.

    Upstream downloads it again, at any revision, into a folder of its own choosing.
    """
    tokenizer: Any = importlib.import_module("chatterbox.models.tokenizers.tokenizer")
    theirs = tokenizer.hf_hub_download
    tokenizer.hf_hub_download = lambda filename, **_: str(folder / filename)
    try:
        yield
    finally:
        tokenizer.hf_hub_download = theirs


def _resource_filename(package: str, name: str) -> str:
    origin = importlib.import_module(package).__file__
    return str(Path(origin or ".").parent / name)


def _without_alignment(function: Any) -> Any:
    return function

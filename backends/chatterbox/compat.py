"""Patches that let Chatterbox and its dependencies import and load with a current PyTorch, offline."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ANALYZER = "chatterbox.models.t3.inference.alignment_stream_analyzer"
_SHORT_TEXT = 5


def prepare() -> None:
    """Make `import chatterbox.tts` work; call it before that import. A second call does nothing.

    Raises:
        ImportError: PyTorch or torchaudio is not installed.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")  # upstream prints a progress bar for each chunk, into our log
    ensure_pkg_resources()
    ensure_torchaudio()


def ensure_torchaudio() -> None:
    """Import torchaudio, without its native extension if that cannot be loaded.

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
    """Replace the part of pkg_resources that resemble-perth 1.0.1 needs to find its watermark model.

    setuptools 81 dropped that module; perth ignores the ImportError and then has no watermarker at all.
    """
    if importlib.util.find_spec("pkg_resources") is None:
        stub: Any = types.ModuleType("pkg_resources")
        stub.resource_filename = _resource_filename
        sys.modules["pkg_resources"] = stub


@contextlib.contextmanager
def files_from(folder: Path) -> Iterator[None]:
    """Make the multilingual tokenizer read its table of Chinese characters from `folder`, without downloads.

    Upstream downloads the table again, at any revision, and for every language the model of a word segmenter that only
    Chinese needs, both into folders of their own. See segmenter.py for the segmenter.

    Pickled tensors are loaded to the CPU first. Upstream loads them to the GPU they were saved from, which may be
    another one or missing.
    """
    torch: Any = importlib.import_module("torch")
    tokenizer: Any = importlib.import_module("chatterbox.models.tokenizers.tokenizer")
    converter = tokenizer.ChineseCangjieConverter
    download, init, load = tokenizer.hf_hub_download, converter._init_segmenter, torch.load
    tokenizer.hf_hub_download = lambda filename, **_: str(folder / filename)
    converter._init_segmenter = lambda self: None
    torch.load = lambda file, **named: load(file, **{**named, "map_location": named.get("map_location") or "cpu"})
    try:
        yield
    finally:
        tokenizer.hf_hub_download, converter._init_segmenter, torch.load = download, init, load


def patch_upstream() -> None:
    """Patch faults of upstream's code; call it after `prepare`.

    Turbo's mel decoder prints a line for each chunk. The multilingual model of chatterbox-tts 0.1.7 fails on texts
    of up to five tokens.
    """
    flow: Any = importlib.import_module("chatterbox.models.s3gen.flow_matching")
    flow.print = _print_nothing
    guard_short_texts(importlib.import_module(_ANALYZER).AlignmentStreamAnalyzer)


def guard_short_texts(analyzer: Any) -> None:
    """Make upstream's alignment analyzer work for texts of up to five tokens (upstream issue 548).

    0.1.7 looks for repetitions among all but the last five text tokens. For such texts there are none, and the step
    raises IndexError in its middle. The wrapper then does the rest as 0.1.7.post2 does, which omits that check.
    """
    original = analyzer.step
    if original.__module__ == __name__:
        return

    @functools.wraps(original, assigned=())
    def step(self: Any, logits: Any, next_token: int | None = None) -> Any:
        try:
            return original(self, logits, next_token)
        except IndexError:
            if self.alignment.shape[1] > _SHORT_TEXT:
                raise
        if next_token is not None:
            self.generated_tokens = [*self.generated_tokens, next_token][-8:]
        tail = self.alignment[self.completed_at :, -3:].sum(dim=0).max() >= 5
        repeats = len(self.generated_tokens) >= 3 and len(set(self.generated_tokens[-2:])) == 1
        if tail or repeats:
            logits = logits.new_full(logits.shape, -(2.0**15))
            logits[..., self.eos_idx] = 2**15
        self.curr_frame_pos += 1
        return logits

    analyzer.step = step


def keep_float32_loudness(model: Any) -> None:
    """Keep float32 in Turbo's loudness normalisation, which returns float64 with NumPy 2; else no voice can be made."""
    original = model.norm_loudness
    model.norm_loudness = lambda wav, *rest, **named: original(wav, *rest, **named).astype(wav.dtype, copy=False)


def _resource_filename(package: str, name: str) -> str:
    origin = importlib.import_module(package).__file__
    return str(Path(origin or ".").parent / name)


def _without_alignment(function: Any) -> Any:
    return function


def _print_nothing(*_: Any, **__: Any) -> None:
    """Replace `print`."""

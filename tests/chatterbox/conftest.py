"""Fixtures of the Chatterbox suite; its tests are collected only if PyTorch is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALLED = all(importlib.util.find_spec(name) for name in ("torch", "chatterbox"))
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]

if INSTALLED:
    import torch

    from benchmarks.checkpoints import make_english, make_multilingual, make_turbo, tiny_chatterbox

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An English model that ends after 24 speech tokens."""
    return make_english(tmp_path_factory.mktemp("chatterbox") / "english")


@pytest.fixture(scope="session")
def upstream(checkpoint: Path) -> Iterator[Any]:
    """Upstream's own model, with which every engine is compared."""
    with tiny_chatterbox():
        from chatterbox.tts import ChatterboxTTS

        model = ChatterboxTTS.from_local(checkpoint, "cpu")
    yield model


@pytest.fixture(scope="session")
def alone(upstream: Any) -> Any:
    """Samples of each text, by number, spoken alone by the fast engine."""
    from support.chatterbox_feed import ListFeed, chunk, run

    from backends.chatterbox import ChatterboxSettings
    from backends.chatterbox.engine import FastEngine
    from backends.chatterbox.models import MODELS
    from benchmarks.decoding import TEXTS

    engine = FastEngine(upstream, MODELS["english"], ChatterboxSettings(slots=1))
    takes, _ = run(engine, ListFeed([chunk(n, TEXTS[n]) for n in range(8)]))
    return {n: take.pcm for n, take in takes.items()}


@pytest.fixture(scope="session")
def multilingual_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of all 23 languages that ends after 12 speech tokens at the latest."""
    return make_multilingual(tmp_path_factory.mktemp("chatterbox") / "multilingual")


@pytest.fixture(scope="session")
def turbo_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An English model that ends at a position, counted over the voice, the letters of the text and speech tokens."""
    return make_turbo(tmp_path_factory.mktemp("chatterbox") / "turbo")

"""The package that contains the module `chatterbox`: the suite runs with the fork and with upstream's package."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from pathlib import Path

from backends.chatterbox import ChatterboxBackend, ChatterboxSettings, compat
from backends.interface import BackendContext

ORIGINAL = Path(sys.prefix).name.endswith("-original")
NAME = "chatterbox-tts" if ORIGINAL else "videopython-chatterbox"


def test_the_package_of_this_environment_is_the_one_that_is_imported() -> None:
    compat.prepare()
    distribution = importlib.metadata.distribution(NAME)
    imported = Path(str(importlib.import_module("chatterbox").__file__)).parent
    assert imported == Path(str(distribution.locate_file("chatterbox")))
    assert imported.is_relative_to(sys.prefix)
    assert distribution.version == ("0.1.7" if ORIGINAL else "0.1.7.post2")


def test_the_revision_names_the_package_that_is_imported(checkpoint: Path) -> None:
    asked = ChatterboxBackend(ChatterboxSettings(model_path=str(checkpoint)), BackendContext(Path("unused"), "cpu"))
    assert asked.revision().startswith(f"{NAME}-0.1.7")

"""Chatterbox keeps the plugin contract with either engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.interface import BackendContext
from backends.testing.conformance import check
from benchmarks.tiny import TinyChatterbox


@pytest.mark.parametrize("settings", [{}, {"deterministic": True, "slots": 2}, {"engine": "reference"}], ids=str)
def test_every_check_of_the_kit_passes(checkpoint: Path, settings: dict[str, Any]) -> None:
    context = BackendContext(Path("unused"), "cpu")
    findings = check(TinyChatterbox, {"model_path": str(checkpoint), **settings}, context)
    # The kit checks in a new interpreter what is imported before loading; this test's wrapper does not exist there.
    assert [finding for finding in findings if not finding.ok] == []

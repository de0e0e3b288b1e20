"""Chatterbox's backend as it is where its package is not, whatever is installed here."""

from __future__ import annotations

import pytest

from backends.chatterbox import backend as module


@pytest.fixture
def no_chatterbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its package is not installed."""
    monkeypatch.setattr(module, "DISTRIBUTIONS", ("no-such-chatterbox",))

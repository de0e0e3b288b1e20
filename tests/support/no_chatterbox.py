"""Makes Chatterbox's package look not installed, even if it is."""

from __future__ import annotations

import pytest

from backends.chatterbox import backend as module


@pytest.fixture
def no_chatterbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide Chatterbox's package."""
    monkeypatch.setattr(module, "DISTRIBUTIONS", ("no-such-chatterbox",))

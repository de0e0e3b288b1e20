from __future__ import annotations

from pathlib import Path

import pytest
from support.wheels import make_wheel


@pytest.fixture(scope="package")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of what is in the tree."""
    return make_wheel(tmp_path_factory.mktemp("wheel"))

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import databases


@pytest.fixture(params=["sqlite", "postgresql"])
def on_both(request: pytest.FixtureRequest) -> Iterator[str]:
    """What a module asks for whose faults SQLite and PostgreSQL have to outlive alike; which one it is."""
    with databases.on(request.param):
        yield request.param

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import databases


@pytest.fixture(params=["sqlite", "postgresql"])
def on_both(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the module's tests on SQLite and on PostgreSQL; gives the name of the database in use."""
    with databases.on(request.param):
        yield request.param

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import databases

WITHOUT_A_CHOICE = {
    "test_several_servers": "is about PostgreSQL",
    "test_normalize": "is about texts",
    "test_later_models": "is about engines",
    "test_take_checks": "is about sound",
    "test_same_bytes": "is about sound",
    "test_stream_items": "is about sound",
    "test_held_bytes": "is about memory",
    "test_limits_on_the_clock": "is about time",
    "test_periodic_work": "is about time",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of jobs runs on both databases, but those to which storage is nothing."""
    if metafunc.module.__name__.rpartition(".")[2] not in WITHOUT_A_CHOICE:
        sqlite_only = metafunc.definition.get_closest_marker("sqlite_only")
        kinds = ["sqlite"] if sqlite_only else ["sqlite", "postgresql"]
        metafunc.parametrize("kind_of_database", kinds, indirect=True)


@pytest.fixture(autouse=True)
def kind_of_database(request: pytest.FixtureRequest) -> Iterator[str]:
    kind = getattr(request, "param", "sqlite")
    with databases.on(kind):
        yield kind

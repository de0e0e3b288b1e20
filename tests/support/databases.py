"""Which kind of database the gateways of a test get: a SQLite file in their folder, or a PostgreSQL of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from support.postgres import migrated_database

_made: tuple[contextlib.ExitStack, dict[Path, str]] | None = None


@contextlib.contextmanager
def on(kind: str) -> Iterator[None]:
    """While this lasts, `url_of` gives databases of this kind: `sqlite` or `postgresql`."""
    global _made
    if kind == "sqlite":
        yield
        return
    with contextlib.ExitStack() as stack:
        _made = (stack, {})
        try:
            yield
        finally:
            _made = None


def url_of(folder: Path) -> str | None:
    """The PostgreSQL database, migrated, that belongs to a data folder; None: it has its own SQLite file."""
    if _made is None:
        return None
    stack, urls = _made
    if folder not in urls:
        urls[folder] = stack.enter_context(migrated_database())
    return urls[folder]

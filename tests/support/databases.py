"""Chooses the database of a test's gateways: a SQLite file in their folder, or a PostgreSQL database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from support.postgres import migrated_database

_made: tuple[contextlib.ExitStack, dict[Path, str]] | None = None


@contextlib.contextmanager
def on(kind: str) -> Iterator[None]:
    """Make `url_of` return databases of this kind, `sqlite` or `postgresql`, until the end of the `with`."""
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
    """Return the URL of a data folder's migrated PostgreSQL database; None if the folder has a SQLite file."""
    if _made is None:
        return None
    stack, urls = _made
    if folder not in urls:
        urls[folder] = stack.enter_context(migrated_database())
    return urls[folder]

"""The server a command speaks through: one that is named, one that runs here, or one of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.access.first_key import FIRST_KEY_FILE
from gateway.cli.embedded import embedded_server
from gateway.cli.running import find
from gateway.errors import BadRequest
from gateway.settings import Settings


@contextlib.contextmanager
def reach(settings: Settings, url: str | None) -> Iterator[tuple[str, str]]:
    """The address of a server and a key for it.

    Args:
        url: a server to use whatever runs here.

    Raises:
        BadRequest: `url` is none.
        Unavailable: none was found, and one of its own did not start.
    """
    key = settings.api_key or _first_key(settings)
    if url is not None:
        _check(url)
        yield url, key
    elif key and (running := find(settings.data_dir)) is not None:
        yield running.url, key
    else:
        with embedded_server() as own:
            yield own.url, own.key


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest(f"{url!r} is no address of a server; one is http://127.0.0.1:8000 (--url, VOXGATE_URL)")


def _first_key(settings: Settings) -> str:
    """The key a server without a terminal made for itself, if this user may read it."""
    try:
        return (settings.data_dir / FIRST_KEY_FILE).read_text(encoding="ascii").strip()
    except OSError:
        return ""

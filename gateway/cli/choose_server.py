"""Chooses the server a command uses: the one named, the one on this data folder, or a temporary one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.access.first_key import FIRST_KEY_FILE
from gateway.cli.embedded import embedded_server
from gateway.cli.server_record import find_server
from gateway.errors import BadRequest
from gateway.settings import Settings


@contextlib.contextmanager
def choose_server(settings: Settings, url: str | None) -> Iterator[tuple[str, str]]:
    """Yield the address of a server and a key for it.

    Args:
        url: the server to use; None for the one on this data folder, else a temporary one.

    Raises:
        BadRequest: `url` is not an http address.
        Unavailable: no server runs here, and a temporary one did not start.
    """
    key = settings.api_key or _first_key(settings)
    if url is not None:
        _check_url(url)
        yield url, key
    elif key and (running := find_server(settings.data_dir)) is not None:
        yield running.url, key
    else:
        with embedded_server() as own:
            yield own.url, own.key


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest(
            f"{url!r} is not the address of a server; write it like http://127.0.0.1:8000 (--url, VOXGATE_URL)"
        )


def _first_key(settings: Settings) -> str:
    """Return the first key that a server without a terminal wrote to a file; "" if this user cannot read it."""
    try:
        return (settings.data_dir / FIRST_KEY_FILE).read_text(encoding="ascii").strip()
    except OSError:
        return ""

"""Reads the log lines of a server in this process as JSON."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from gateway.settings.logs import setup_logs


class Lines:
    """The lines that were logged so far."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def of(self, *events: str) -> list[dict[str, Any]]:
        """Return the lines of these events in order; of all events if none is given."""
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [line for line in lines if not events or line["event"] in events]


@contextmanager
def logged(level: str = "info") -> Iterator[Lines]:
    """Collect lines of this level and above, instead of writing them, until the end of the `with`."""
    root = logging.getLogger()
    handlers, before = root.handlers, root.level
    stream = io.StringIO()
    setup_logs(level, "json", stream)
    try:
        yield Lines(stream)
    finally:
        root.handlers, root.level = handlers, before
        structlog.reset_defaults()

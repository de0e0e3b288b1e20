"""Turn printed lines into log events, so that every line has one form.

Libraries print progress, warnings and tracebacks to standard error, in workers and in the server itself.
"""

from __future__ import annotations

import io
from typing import Any, TextIO

from gateway.settings.logs import get_logger

log = get_logger("voxgate.printed")

_LONGEST = 1 << 16


class PrintedLines:
    """Logs text that arrives in pieces as `printed` events, one per line.

    A carriage return overwrites its line, as on a terminal: only the last state of a progress bar is logged.

    Args:
        fields: fields of each event, such as the process.
    """

    def __init__(self, **fields: Any) -> None:
        self._fields = fields
        self._rest = ""

    def add(self, text: str) -> None:
        """Add text and log the lines that are complete."""
        *whole, rest = (self._rest + text.replace("\r\n", "\n")).split("\n")
        for line in whole:
            self._log(line)
        # Text before the last carriage return is overwritten and dropped. A final one may be the first half of "\r\n".
        self._rest = rest if "\r" not in rest[:-1] else rest[rest[:-1].rindex("\r") + 1 :]
        if len(self._rest) > _LONGEST:
            self.end()

    def end(self) -> None:
        """Log the last line, which has no line end."""
        rest, self._rest = self._rest, ""
        self._log(rest)

    def _log(self, line: str) -> None:
        shown = line.rstrip("\r").rpartition("\r")[2].rstrip()
        if shown:
            log.warning("printed", line=shown, **self._fields)


class EventStream(io.TextIOBase):
    """Replaces `sys.stderr` where log lines are JSON, and turns printed lines into events.

    Args:
        terminal: the replaced stream. The log itself still writes to it.
    """

    def __init__(self, terminal: TextIO, **fields: Any) -> None:
        self._terminal = terminal
        self._lines = PrintedLines(**fields)

    def write(self, text: str) -> int:
        """Add text."""
        self._lines.add(text)
        return len(text)

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return whether the replaced stream is a terminal."""
        return self._terminal.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the replaced stream."""
        return self._terminal.fileno()

    def close(self) -> None:
        """Log the last line. The replaced stream stays open, because it belongs to the process."""
        self._lines.end()

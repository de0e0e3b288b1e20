"""Lines that programs print beside the log: each becomes an event of it, so that every line has one form.

Libraries print progress, warnings and tracebacks to standard error, in workers and in the server itself.
"""

from __future__ import annotations

import io
from typing import Any, TextIO

from gateway.settings.logs import get_logger

log = get_logger("voxgate.printed")

_LONGEST = 1 << 16


class PrintedLines:
    """Logs text as `printed` events, a line each, as it comes in pieces.

    A carriage return begins its line anew, as on a terminal: of a progress bar only the last state is told.

    Args:
        fields: of each event, such as the process.
    """

    def __init__(self, **fields: Any) -> None:
        self._fields = fields
        self._rest = ""

    def add(self, text: str) -> None:
        """Some more text."""
        *whole, rest = (self._rest + text.replace("\r\n", "\n")).split("\n")
        for line in whole:
            self._log(line)
        # A line that is still being overwritten need not be kept; the return itself may be half of a line's end.
        self._rest = rest if "\r" not in rest[:-1] else rest[rest[:-1].rindex("\r") + 1 :]
        if len(self._rest) > _LONGEST:
            self.end()

    def end(self) -> None:
        """Nothing more comes: log a line that has no end."""
        rest, self._rest = self._rest, ""
        self._log(rest)

    def _log(self, line: str) -> None:
        shown = line.rstrip("\r").rpartition("\r")[2].rstrip()
        if shown:
            log.warning("printed", line=shown, **self._fields)


class EventStream(io.TextIOBase):
    """In place of `sys.stderr`, where lines are for machines: what is printed there becomes events.

    Args:
        terminal: the stream that it stands for, which the log itself goes on writing to.
    """

    def __init__(self, terminal: TextIO, **fields: Any) -> None:
        self._terminal = terminal
        self._lines = PrintedLines(**fields)

    def write(self, text: str) -> int:
        """Take some text."""
        self._lines.add(text)
        return len(text)

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Whether somebody reads along."""
        return self._terminal.isatty()

    def fileno(self) -> int:
        """Of the stream it stands for."""
        return self._terminal.fileno()

    def close(self) -> None:
        """Log what is left. The stream it stands for stays open: it is the process's."""
        self._lines.end()

"""Runs `voxgate serve` as a child process on a free port, for the length of one command."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import IO

import msgspec

from gateway.errors import Unavailable

_ANNOUNCEMENT = "voxgate listens on "
_STOP_TIMEOUT_S = 30.0


class Embedded(msgspec.Struct, frozen=True):
    """The child's address, a key for it, and its process id."""

    url: str
    key: str
    pid: int


@contextlib.contextmanager
def embedded_server(changes: Mapping[str, str] | None = None) -> Iterator[Embedded]:
    """Start a server with this process's settings; stop it at the end of the `with`.

    Args:
        changes: environment variables to set in addition to this process's own.

    Raises:
        Unavailable: the server did not start; the message is its last line on stderr.
    """
    key = f"vg-once-{secrets.token_urlsafe(24)}"
    environment = {**os.environ, "VOXGATE_LOG_LEVEL": "error", **(changes or {}), "VOXGATE_API_KEY": key}
    child = subprocess.Popen(
        [sys.executable, "-m", "voxgate", "serve", "--host", "127.0.0.1", "--port", "0"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    errors = _Tail(child.stderr)
    try:
        yield Embedded(_read_address(child, errors), key, child.pid)
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def announcement(url: str) -> str:
    """Return the first line that `voxgate serve` prints on stdout, once it answers."""
    return f"{_ANNOUNCEMENT}{url}"


def _read_address(child: subprocess.Popen[str], errors: _Tail) -> str:
    assert child.stdout is not None  # opened with PIPE
    for line in child.stdout:
        if line.startswith(_ANNOUNCEMENT):
            threading.Thread(target=child.stdout.read, daemon=True).start()
            return line.removeprefix(_ANNOUNCEMENT).strip()
    child.wait()
    last = errors.last().removeprefix("voxgate: ")
    raise Unavailable(last or f"the server stopped while starting (exit code {child.returncode}); try: voxgate doctor")


class _Tail:
    """Reads a stream to its end in a thread and keeps the last line."""

    def __init__(self, stream: IO[str] | None) -> None:
        assert stream is not None  # opened with PIPE
        self._stream = stream
        self._last = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self._last = line.strip() or self._last

    def last(self) -> str:
        """Wait for the end of the stream and return the last line that was not empty."""
        self._thread.join(_STOP_TIMEOUT_S)
        return self._last

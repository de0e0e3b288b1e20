"""A child Python process, connected to the gateway by a socket pair.

`subprocess` and a socket pair instead of `multiprocessing`: spawn would import the gateway's main module (web
framework included) into every worker, and its pipe needs two threads here; a socket is served by the event loop.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from gateway.clock import set_within
from gateway.engines.wire import FrameProtocol, frame
from gateway.settings.printed import PrintedLines

_BOOT = (
    "import importlib, json, sys\n"
    "fd, path, module = sys.argv[1:4]\n"
    "sys.path[:] = json.loads(path)\n"
    "importlib.import_module(module).main(int(fd))\n"
)
_STDERR_CLOSE_S = 0.2
"""Seconds to wait for the end of standard error after the process has ended."""

_REAP_S = 1.0
"""Seconds a process that closed its connection may take to end before it is killed."""


class Child:
    """A child process. It ends when its connection closes, so it never outlives the gateway.

    Args:
        module: its function `main(fd)` runs in the process.
        first: the body of the first frame it receives.
        on_body: called with every body it sends.
        on_exit: called once, after the process was reaped, with the way it ended ("exit status 1", "killed by
            SIGKILL").
    """

    def __init__(
        self,
        module: str,
        first: bytes,
        on_body: Callable[[bytearray], None],
        on_exit: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._on_exit = on_exit
        self._protocol = FrameProtocol(on_body, self._disconnected)
        self._transport: asyncio.Transport | None = None
        self._unsent = [frame(first)]
        self._tasks: set[asyncio.Task[None]] = set()
        ours, theirs = socket.socketpair()
        with theirs:
            # The child must be started by a thread that lives as long as the gateway, here the event loop's: Linux
            # sends the parent-death signal when that thread ends.
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), json.dumps(sys.path), module],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Without a log, as in most commands, its standard error goes to the terminal.
                stderr=subprocess.PIPE if structlog.is_configured() else None,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self._spawn(self._connect(ours))
        self._stderr: _StderrLog | None = None
        if self._process.stderr is not None:
            self._stderr = _StderrLog(module, self._process.pid)
            self._spawn(self._read_stderr(self._stderr))

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def send(self, data: bytes) -> None:
        """Send one frame; never blocks. After the process ended the frame is dropped."""
        if self._transport is None:
            self._unsent.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def kill(self) -> None:
        """Send SIGKILL; `on_exit` follows."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, ours: socket.socket) -> None:
        ours.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: self._protocol, sock=ours)
        self._transport = transport
        transport.write(b"".join(self._unsent))
        self._unsent.clear()

    async def _read_stderr(self, log: _StderrLog) -> None:
        await asyncio.get_running_loop().connect_read_pipe(lambda: log, self._process.stderr)

    def _disconnected(self) -> None:
        self._spawn(self._reap())

    async def _reap(self) -> None:
        try:
            reason = await self._status()
        except Exception as error:  # noqa: BLE001 - `on_exit` must be called after any error
            self.kill()
            reason = f"closed its connection; its exit status is unknown ({type(error).__name__}: {error})"
        if self._stderr is not None:
            await self._stderr.finish()
        self._on_exit(reason)

    async def _status(self) -> str:
        try:
            status = await asyncio.to_thread(self._process.wait, _REAP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            status = await asyncio.to_thread(self._process.wait)
        return exit_reason(status)


class _StderrLog(asyncio.Protocol):
    """Logs the lines the process prints to standard error, to the last one."""

    def __init__(self, module: str, pid: int) -> None:
        self._lines = PrintedLines(process=module.rpartition(".")[2], pid=pid)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._transport: asyncio.BaseTransport | None = None
        self._closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, to close it in `finish`."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Log the lines in `data`."""
        self._lines.add(self._decode(data))

    def connection_lost(self, error: Exception | None) -> None:
        """Log the last line; the pipe is closed."""
        self._lines.end()
        self._closed.set()

    async def finish(self) -> None:
        """Wait shortly for the last lines. A process started by the ended one may keep the pipe open for longer."""
        if not await set_within(self._closed, _STDERR_CLOSE_S) and self._transport is not None:
            self._transport.close()


def exit_reason(status: int) -> str:
    """Describe the return code of a process in words."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def bind_to_parent() -> None:
    """Make the calling child process ignore SIGINT and SIGTERM, and end when the gateway dies.

    Ctrl-C and a service manager's SIGTERM may reach every process of a service; the gateway answers them by letting
    running chunks end. When it dies the kernel kills the child, even while an engine holds the interpreter.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)

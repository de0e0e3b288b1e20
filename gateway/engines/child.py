"""A Python process of ours with a line to it.

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
_LAST_WORDS_S = 0.2
_REAP_S = 1.0
"""How long a process that closed its line may take to end before it is killed."""


class Child:
    """One process; it ends by itself when its line closes, so it never outlives the gateway.

    Args:
        module: its function `main(fd)` runs in the process.
        first: the body of the first frame it receives.
        on_body: called with every body it sends.
        on_exit: called once, after the process was reaped, with how it ended ("exit status 1", "killed by SIGKILL").
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
        self._protocol = FrameProtocol(on_body, self._ended)
        self._transport: asyncio.Transport | None = None
        self._unsent = [frame(first)]
        self._tasks: set[asyncio.Task[None]] = set()
        ours, theirs = socket.socketpair()
        with theirs:
            # The child must be made by a thread that lives as long as the gateway: Linux ties the signal at a
            # parent's death to that thread. The event loop's is the one.
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), json.dumps(sys.path), module],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Without a log, as in most commands, what it prints is for the person at the terminal.
                stderr=subprocess.PIPE if structlog.is_configured() else None,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self._go(self._connect(ours))
        self._printed: _Printed | None = None
        if self._process.stderr is not None:
            self._printed = _Printed(module, self._process.pid)
            self._go(self._read_along(self._printed))

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, data: bytes) -> None:
        """Send one frame; never blocks. After the process ended it goes nowhere."""
        if self._transport is None:
            self._unsent.append(data)
        elif not self._transport.is_closing():
            self._transport.write(data)

    def kill(self) -> None:
        """SIGKILL; `on_exit` follows."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, ours: socket.socket) -> None:
        ours.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: self._protocol, sock=ours)
        self._transport = transport
        transport.write(b"".join(self._unsent))
        self._unsent.clear()

    async def _read_along(self, printed: _Printed) -> None:
        await asyncio.get_running_loop().connect_read_pipe(lambda: printed, self._process.stderr)

    def _ended(self) -> None:
        self._go(self._reap())

    async def _reap(self) -> None:
        try:
            how = await self._status()
        except Exception as error:  # noqa: BLE001 - else nobody would ever hear that it is gone
            self.kill()
            how = f"closed its line; how it ended cannot be told ({type(error).__name__}: {error})"
        if self._printed is not None:
            await self._printed.over()
        self._on_exit(how)

    async def _status(self) -> str:
        try:
            status = await asyncio.to_thread(self._process.wait, _REAP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            status = await asyncio.to_thread(self._process.wait)
        return how_it_ended(status)


class _Printed(asyncio.Protocol):
    """Logs what the process prints to standard error, to its last words."""

    def __init__(self, module: str, pid: int) -> None:
        self._lines = PrintedLines(process=module.rpartition(".")[2], pid=pid)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._transport: asyncio.BaseTransport | None = None
        self._closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The pipe is read from now on."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Some of it."""
        self._lines.add(self._decode(data))

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody can print there any more."""
        self._lines.end()
        self._closed.set()

    async def over(self) -> None:
        """The process has ended; what it started may have the pipe and live on, and is not waited for."""
        if not await set_within(self._closed, _LAST_WORDS_S) and self._transport is not None:
            self._transport.close()


def how_it_ended(status: int) -> str:
    """A process's return code, in words."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def obey_parent_only() -> None:
    """Called in the child: it ends when the gateway says so or dies, and by no signal meant for the gateway.

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

"""A small process for signal processing that must not run on the event loop.

Takes of inline backends are finished here, and uploads are decoded here.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import signal
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from gateway.engines import wire
from gateway.engines.child import Child, die_with_parent
from gateway.engines.errors import ChunkRefused

T = TypeVar("T")


class Dsp:
    """Runs module-level functions, one after the other, in one process that starts on first use.

    When the process dies, the call it was at fails and the others are made again in a new one.
    """

    def __init__(self) -> None:
        self._child: Child | None = None
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[bytes, asyncio.Future[Any]]] = {}
        self._over: asyncio.Event | None = None

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """`function(*args)`, computed there; what it raises is raised here.

        Raises:
            ChunkRefused: the process died at it.
        """
        call_id = next(self._ids)
        body = pickle.dumps((call_id, function, args))
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = (body, future)
        self._send(body)
        try:
            return await future
        finally:
            self._waiting.pop(call_id, None)

    async def stop(self) -> None:
        """End the process."""
        if self._child is not None:
            self._over = asyncio.Event()
            self._child.kill()
            await self._over.wait()

    def _send(self, body: bytes) -> None:
        if self._child is None:
            self._child = Child("gateway.engines.dsp", body, self._answered, self._exited)
        else:
            self._child.send(wire.frame(body))

    def _answered(self, body: bytearray) -> None:
        call_id, value, error = pickle.loads(body)  # noqa: S301 - from our own process, over a private socket
        _, future = self._waiting.pop(call_id, (b"", None))
        if future is None or future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)

    def _exited(self, reason: str) -> None:
        self._child = None
        if self._over is not None:
            self._over.set()
            reason = "the gateway is stopping"
        elif self._waiting:
            first = next(iter(self._waiting))
            self._fail(first, reason)
            for body, _ in self._waiting.values():
                self._send(body)
            return
        for call_id in list(self._waiting):
            self._fail(call_id, reason)

    def _fail(self, call_id: int, reason: str) -> None:
        _, future = self._waiting.pop(call_id)
        if not future.done():
            future.set_exception(ChunkRefused("failed", f"the signal processing worker ended: {reason}", True))


def main(fd: int) -> None:
    """Compute until the gateway goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
    line = wire.Line(socket.socket(fileno=fd))
    while (body := line.receive()) is not None:
        call_id, function, args = pickle.loads(body)  # noqa: S301 - from our own parent, over a private socket
        answer: tuple[int, Any, Exception | None]
        try:
            answer = (call_id, function(*args), None)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            answer = (call_id, None, error)
        line.send(wire.frame(_dumps(answer)))
    os._exit(0)


def _dumps(answer: tuple[int, Any, Exception | None]) -> bytes:
    try:
        data = pickle.dumps(answer)
        pickle.loads(data)  # noqa: S301 - an error whose own arguments do not rebuild it fails here, not in the gateway
        return data
    except Exception:  # noqa: BLE001 - what cannot travel is described
        return pickle.dumps((answer[0], None, RuntimeError(f"{type(answer[2]).__name__}: {answer[2]}")))

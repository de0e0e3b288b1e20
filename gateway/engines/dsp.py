"""A small process for signal processing that must not run on the event loop.

Takes of inline backends are finished here, and uploads are decoded here.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from gateway.engines import wire
from gateway.engines.child import Child, obey_parent_only
from gateway.engines.errors import ChunkRefused, HostStopped

T = TypeVar("T")


LIMIT_S = 120.0
"""A call that takes longer is taken for hung."""


class Dsp:
    """Runs module-level functions, one after the other, in one process that starts on first use.

    When the process dies, the call it was at fails and the others are made again in a new one.

    Args:
        limit_s: how long the call that runs may take before the process is killed.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._child: Child | None = None
        self._ids = itertools.count(1)
        self._unanswered: dict[int, tuple[bytes, asyncio.Future[Any]]] = {}
        self._heard_at = 0.0
        self._over: asyncio.Event | None = None

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """`function(*args)`, computed there; what it raises is raised here.

        Raises:
            ChunkRefused: the process died or hung at it.
            HostStopped: the gateway is stopping.
        """
        if self._over is not None:
            raise HostStopped("the gateway is stopping")
        call_id = next(self._ids)
        body = pickle.dumps((call_id, function, args))
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if not self._unanswered:
            self._heard_at = asyncio.get_running_loop().time()
        self._unanswered[call_id] = (body, future)
        self._make(call_id)
        try:
            while not future.done():
                left = self._heard_at + self._limit_s - asyncio.get_running_loop().time()
                if left <= 0 and self._child is not None:
                    self._child.kill()
                await asyncio.wait([future], timeout=max(0.1, left))
            return future.result()
        finally:
            future.cancel()  # nobody waits any more: its answer, if one comes, is dropped
            del future  # what it raised holds this frame in its traceback: a cycle, which only the collector ends

    async def stop(self) -> None:
        """End the process."""
        if self._child is not None:
            self._over = asyncio.Event()
            self._child.kill()
            await self._over.wait()

    def _make(self, call_id: int) -> None:
        """Send a call; where no process can be started for it, it has failed."""
        body, future = self._unanswered[call_id]
        if self._child is not None:
            self._child.send(wire.frame(body))
            return
        self._heard_at = asyncio.get_running_loop().time()
        try:
            self._child = Child("gateway.engines.dsp", body, self._answered, self._exited)
        except OSError as error:
            del self._unanswered[call_id]
            reason = f"the signal processing worker cannot start: {error.strerror}"
            future.set_exception(ChunkRefused("failed", reason, True))

    def _answered(self, body: bytearray) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        call_id, value, error = pickle.loads(body)  # noqa: S301 - from our own process, over a private socket
        _, future = self._unanswered.pop(call_id)
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)

    def _exited(self, reason: str) -> None:
        self._child = None
        calls, self._unanswered = self._unanswered, {}
        for n, (call_id, (body, future)) in enumerate(calls.items()):
            if future.done():
                continue
            if self._over is not None:
                future.set_exception(HostStopped("the gateway is stopping"))
            elif n == 0:
                future.set_exception(ChunkRefused("failed", f"the signal processing worker ended: {reason}", True))
            else:
                self._unanswered[call_id] = (body, future)
                self._make(call_id)
        if self._over is not None:
            self._over.set()


def main(fd: int) -> None:
    """Compute until the gateway goes away."""
    obey_parent_only()
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

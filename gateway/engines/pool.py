"""A pool of processes for computation that must not block the event loop; they are started on demand."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import msgspec

from gateway.clock import Clock, SystemClock, Timer
from gateway.engines import wire
from gateway.engines.child import Child, bind_to_parent
from gateway.engines.errors import CallLost, HostStopped
from gateway.engines.scale import cores

T = TypeVar("T")


class PoolLimits(msgspec.Struct, frozen=True):
    """The number of processes of a pool, and their time limits.

    Args:
        max_processes: processes at a time.
        per_owner: calls of one owner at a time; different owners take turns.
        call_timeout_s: a call that takes longer counts as hung, and its process is killed.
        idle_timeout_s: a process without a call for this time ends.
        keep: number of started processes that do not end when idle.
    """

    max_processes: int
    per_owner: int = 1
    call_timeout_s: float = 120.0
    idle_timeout_s: float = 60.0
    keep: int = 0


def default_processes() -> int:
    """Return the size of a pool that may use the whole machine: at least 2, so that one hung call blocks no other."""
    return min(8, max(2, cores()))


class ProcessPool:
    """Runs module-level functions, one at a time in each of its processes.

    When a process dies, only its present call fails.

    Args:
        module: the module its processes run; its `main` is `gateway.engines.pool.main`.
        clock: for the time limits; default is the machine's.
    """

    def __init__(self, module: str, limits: PoolLimits, clock: Clock | None = None) -> None:
        self._module = module
        self._limits = limits
        self._clock = clock or SystemClock()
        self._waiting: OrderedDict[str | None, deque[_Call]] = OrderedDict()
        self._running: dict[str, int] = {}
        self._workers: list[_Worker] = []
        self._stopping = False
        self._none_left = asyncio.Event()

    async def run(self, function: Callable[..., T], *args: Any, owner: str | None = None) -> T:
        """Compute `function(*args)` in a process; its exceptions are raised here.

        The items of a generator come as a list, each item in a message of its own: one large message would block the
        event loop while it is read.

        Args:
            owner: whose calls are limited to `per_owner` at a time; None has no such limit.

        Raises:
            CallLost: the process died or hung in this call, or none can be started.
            HostStopped: the gateway is stopping.
        """
        if self._stopping:
            raise HostStopped("the gateway is stopping")
        call = _Call(function, args, owner, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(owner, deque()).append(call)
        self._dispatch()
        try:
            result: T = await call.future
            return result
        finally:
            call.future.cancel()  # a cancelled call is not begun, and its result is dropped
            del call  # breaks the reference cycle of an exception, its traceback and this frame

    async def stop(self) -> None:
        """End the processes."""
        self._stopping = True
        for calls in self._waiting.values():
            for call in calls:
                call.fail(HostStopped("the gateway is stopping"))
        self._waiting.clear()
        if self._workers:
            for worker in self._workers:
                worker.kill()
            await self._none_left.wait()

    def _dispatch(self) -> None:
        """Give waiting calls to idle processes, and start processes for the rest."""
        while (call := self._next()) is not None:
            worker = next((each for each in self._workers if each.idle), None)
            if worker is None and len(self._workers) >= self._limits.max_processes:
                self._put_back(call)
                return
            try:
                body = pickle.dumps((call.function, call.args))
                if worker is None:
                    worker = _Worker(self._module, body, self._limits, self._clock, self._on_result, self._on_exit)
                    self._workers.append(worker)
                    worker.begin(call)
                else:
                    worker.begin(call, body)
            except OSError as error:
                if self._workers:  # one of them will become idle
                    self._put_back(call)
                    return
                call.fail(CallLost(f"cannot start: {error.strerror}"))
                continue
            except Exception as error:  # noqa: BLE001 - arguments that cannot be pickled are the caller's error
                call.fail(error)
                continue
            if call.owner is not None:
                self._running[call.owner] = self._running.get(call.owner, 0) + 1

    def _next(self) -> _Call | None:
        """Remove and return the first call of the owner that is next in turn."""
        for owner in list(self._waiting):
            if owner is not None and self._running.get(owner, 0) >= self._limits.per_owner:
                continue
            calls = self._waiting[owner]
            while calls and calls[0].future.done():
                calls.popleft()
            if not calls:
                del self._waiting[owner]
                continue
            call = calls.popleft()
            if calls:
                self._waiting.move_to_end(owner)
            else:
                del self._waiting[owner]
            return call
        return None

    def _put_back(self, call: _Call) -> None:
        self._waiting.setdefault(call.owner, deque()).appendleft(call)
        self._waiting.move_to_end(call.owner, last=False)

    def _release(self, call: _Call) -> None:
        if call.owner is not None:
            left = self._running.pop(call.owner) - 1
            if left:
                self._running[call.owner] = left

    def _on_result(self, worker: _Worker, call: _Call, value: Any, error: Exception | None) -> None:
        self._release(call)
        if error is not None:
            call.fail(error)
        elif not call.future.done():
            call.future.set_result(value)
        self._dispatch()
        if worker.idle:
            worker.when_idle(lambda: self._idle_timeout(worker))

    def _idle_timeout(self, worker: _Worker) -> None:
        """End an idle process, unless it is one of the `keep`."""
        if worker.idle and sum(each.alive for each in self._workers) > self._limits.keep:
            worker.kill()

    def _on_exit(self, worker: _Worker, call: _Call | None, reason: str) -> None:
        self._workers.remove(worker)
        if call is not None:
            self._release(call)
            call.fail(HostStopped("the gateway is stopping") if self._stopping else CallLost(f"ended: {reason}"))
        if not self._stopping:
            self._dispatch()
        elif not self._workers:
            self._none_left.set()


class _Call:
    """A function, its arguments and the future of its result."""

    __slots__ = ("args", "function", "future", "owner", "pieces")

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], owner: str | None, future: asyncio.Future[Any]
    ) -> None:
        self.function = function
        self.args = args
        self.owner = owner
        self.future = future
        self.pieces: list[Any] = []

    def fail(self, error: Exception) -> None:
        """End the call with an error, unless it was cancelled."""
        if not self.future.done():
            self.future.set_exception(error)


class _Worker:
    """One process and its present call."""

    def __init__(
        self,
        module: str,
        first: bytes,
        limits: PoolLimits,
        clock: Clock,
        on_result: Callable[[_Worker, _Call, Any, Exception | None], None],
        on_exit: Callable[[_Worker, _Call | None, str], None],
    ) -> None:
        self._limits = limits
        self._on_result = on_result
        self._on_exit = on_exit
        self._call: _Call | None = None
        self._clock = clock
        self._timer: Timer | None = None
        self._killed = False
        self._child = Child(module, first, self._on_body, self._ended)

    @property
    def alive(self) -> bool:
        """True until the process is killed or has ended."""
        return not self._killed

    @property
    def idle(self) -> bool:
        """True if the process can take a call."""
        return self._call is None and not self._killed

    def begin(self, call: _Call, body: bytes | None = None) -> None:
        """Begin a call; without a body it is the call the process was started with."""
        self._call = call
        if body is not None:
            self._child.send(wire.frame(body))
        self._after(self._limits.call_timeout_s, self.kill)

    def when_idle(self, timed_out: Callable[[], None]) -> None:
        """Call `timed_out` after `idle_timeout_s` without a call."""
        self._after(self._limits.idle_timeout_s, timed_out)

    def kill(self) -> None:
        """End the process; `on_exit` follows."""
        self._killed = True
        self._child.kill()

    def _after(self, seconds: float, step: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(seconds, step)

    def _on_body(self, body: bytearray) -> None:
        kind, value = pickle.loads(body)  # noqa: S301 - from our own process, over a private socket
        call = self._call
        assert call is not None  # a process sends one result for each call
        if kind == "piece":
            call.pieces.append(value)
            return
        self._call = None
        if self._timer is not None:
            self._timer.cancel()
        self._on_result(self, call, call.pieces if kind == "pieces" else value, value if kind == "error" else None)

    def _ended(self, reason: str) -> None:
        self._killed = True
        if self._timer is not None:
            self._timer.cancel()
        call, self._call = self._call, None
        self._on_exit(self, call, reason)


def main(fd: int) -> None:
    """Run calls until the gateway is gone."""
    bind_to_parent()
    connection = wire.MessageSocket(socket.socket(fileno=fd))
    while (body := connection.receive()) is not None:
        function, args = pickle.loads(body)  # noqa: S301 - from our own parent, over a private socket
        del body
        try:
            value = function(*args)
            if isinstance(value, Generator):
                for piece in value:
                    connection.send(wire.frame(pickle.dumps(("piece", piece))))
                result = pickle.dumps(("pieces", None))
            else:
                result = pickle.dumps(("value", value))
            del value
        except Exception as error:  # noqa: BLE001 - raised at the caller
            result = _pickled_error(error)
        del function, args
        connection.send(wire.frame(result))
        del result
    os._exit(0)


def _pickled_error(error: Exception) -> bytes:
    try:
        data = pickle.dumps(("error", error))
        pickle.loads(data)  # noqa: S301 - an error that cannot be unpickled must fail here, not in the gateway
        return data
    except Exception:  # noqa: BLE001 - an error that cannot be pickled is described instead
        return pickle.dumps(("error", RuntimeError(f"{type(error).__name__}: {error}")))

"""Processes that compute what must not hold up the event loop, a few of them, started on demand."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from collections import OrderedDict, deque
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import msgspec

from gateway.engines import wire
from gateway.engines.child import Child, obey_parent_only
from gateway.engines.errors import CallLost, HostStopped
from gateway.engines.scale import cores

T = TypeVar("T")


class PoolLimits(msgspec.Struct, frozen=True):
    """How many processes a pool has, and for how long.

    Args:
        most: processes at a time.
        each: calls of one owner at a time; those of different owners take turns.
        call_s: a call that takes longer is taken for hung, and its process is killed.
        idle_s: a process without a call for so long ends.
        kept: so many processes stay, once they were started.
    """

    most: int
    each: int = 1
    call_s: float = 120.0
    idle_s: float = 60.0
    kept: int = 0


def as_many_as_cores() -> int:
    """Processes of a pool that may use the whole machine: at least 2, so that one that hangs holds nobody up."""
    return min(8, max(2, cores()))


class ProcessPool:
    """Runs module-level functions, one at a time in each of its processes.

    When a process dies, the call it was at fails; no other call is ever in its hands.

    Args:
        module: what its processes run; its `main` is `gateway.engines.pool.main`.
    """

    def __init__(self, module: str, limits: PoolLimits) -> None:
        self._module = module
        self._limits = limits
        self._waiting: OrderedDict[str | None, deque[_Call]] = OrderedDict()
        self._at_work: dict[str, int] = {}
        self._workers: list[_Worker] = []
        self._stopping = False
        self._none_left = asyncio.Event()

    async def run(self, function: Callable[..., T], *args: Any, owner: str | None = None) -> T:
        """`function(*args)`, computed there; what it raises is raised here.

        What a generator yields comes as a list, each piece in a message of its own: a large result in one message
        would hold up the event loop while it is read.

        Args:
            owner: in whose turn; None has no limit of its own.

        Raises:
            CallLost: the process died or hung at it, or none can be started.
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
            call.future.cancel()  # nobody waits any more: it is not begun, and its answer, if one comes, is dropped
            del call  # what it raised holds this frame in its traceback: a cycle, which only the collector ends

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
        """Give waiting calls to idle processes, and start processes for those that are left."""
        while (call := self._next()) is not None:
            worker = next((each for each in self._workers if each.idle), None)
            if worker is None and len(self._workers) >= self._limits.most:
                self._put_back(call)
                return
            try:
                body = pickle.dumps((call.function, call.args))
                if worker is None:
                    worker = _Worker(self._module, body, self._limits, self._answered, self._exited)
                    self._workers.append(worker)
                    worker.begin(call)
                else:
                    worker.begin(call, body)
            except OSError as error:
                if self._workers:  # one of them will be free
                    self._put_back(call)
                    return
                call.fail(CallLost(f"cannot start: {error.strerror}"))
                continue
            except Exception as error:  # noqa: BLE001 - arguments that cannot travel are their caller's fault
                call.fail(error)
                continue
            if call.owner is not None:
                self._at_work[call.owner] = self._at_work.get(call.owner, 0) + 1

    def _next(self) -> _Call | None:
        """The first call of the owner whose turn it is."""
        for owner in list(self._waiting):
            if owner is not None and self._at_work.get(owner, 0) >= self._limits.each:
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
            left = self._at_work.pop(call.owner) - 1
            if left:
                self._at_work[call.owner] = left

    def _answered(self, worker: _Worker, call: _Call, value: Any, error: Exception | None) -> None:
        self._release(call)
        if error is not None:
            call.fail(error)
        elif not call.future.done():
            call.future.set_result(value)
        self._dispatch()
        if worker.idle:
            worker.rest(lambda: self._rested(worker))

    def _rested(self, worker: _Worker) -> None:
        """A process had no call for a while: it ends, unless it is one of those that are kept."""
        if worker.idle and sum(each.alive for each in self._workers) > self._limits.kept:
            worker.kill()

    def _exited(self, worker: _Worker, call: _Call | None, reason: str) -> None:
        self._workers.remove(worker)
        if call is not None:
            self._release(call)
            call.fail(HostStopped("the gateway is stopping") if self._stopping else CallLost(f"ended: {reason}"))
        if not self._stopping:
            self._dispatch()
        elif not self._workers:
            self._none_left.set()


class _Call:
    """A function, its arguments and the future of its value."""

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
        """End it with an error, if anybody still waits for it."""
        if not self.future.done():
            self.future.set_exception(error)


class _Worker:
    """One process and the call it is at."""

    def __init__(
        self,
        module: str,
        first: bytes,
        limits: PoolLimits,
        on_answer: Callable[[_Worker, _Call, Any, Exception | None], None],
        on_exit: Callable[[_Worker, _Call | None, str], None],
    ) -> None:
        self._limits = limits
        self._on_answer = on_answer
        self._on_exit = on_exit
        self._call: _Call | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._killed = False
        self._child = Child(module, first, self._heard, self._ended)

    @property
    def alive(self) -> bool:
        """Whether nobody has ended it."""
        return not self._killed

    @property
    def idle(self) -> bool:
        """Whether it could take a call."""
        return self._call is None and not self._killed

    def begin(self, call: _Call, body: bytes | None = None) -> None:
        """Take a call; without a body it is the one the process was started with."""
        self._call = call
        if body is not None:
            self._child.send(wire.frame(body))
        self._after(self._limits.call_s, self.kill)

    def rest(self, end: Callable[[], None]) -> None:
        """Have `end` called when nothing has come for a while."""
        self._after(self._limits.idle_s, end)

    def kill(self) -> None:
        """End the process; `on_exit` follows."""
        self._killed = True
        self._child.kill()

    def _after(self, seconds: float, step: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, step)

    def _heard(self, body: bytearray) -> None:
        kind, value = pickle.loads(body)  # noqa: S301 - from our own process, over a private socket
        call = self._call
        assert call is not None  # it answers each call once
        if kind == "piece":
            call.pieces.append(value)
            return
        self._call = None
        if self._timer is not None:
            self._timer.cancel()
        self._on_answer(self, call, call.pieces if kind == "pieces" else value, value if kind == "error" else None)

    def _ended(self, reason: str) -> None:
        self._killed = True
        if self._timer is not None:
            self._timer.cancel()
        call, self._call = self._call, None
        self._on_exit(self, call, reason)


def main(fd: int) -> None:
    """Compute until the gateway goes away."""
    obey_parent_only()
    line = wire.MessageSocket(socket.socket(fileno=fd))
    while (body := line.receive()) is not None:
        function, args = pickle.loads(body)  # noqa: S301 - from our own parent, over a private socket
        del body
        try:
            value = function(*args)
            if isinstance(value, Generator):
                for piece in value:
                    line.send(wire.frame(pickle.dumps(("piece", piece))))
                answer = pickle.dumps(("pieces", None))
            else:
                answer = pickle.dumps(("value", value))
            del value
        except Exception as error:  # noqa: BLE001 - it is the caller's
            answer = _described(error)
        del function, args
        line.send(wire.frame(answer))
        del answer
    os._exit(0)


def _described(error: Exception) -> bytes:
    try:
        data = pickle.dumps(("error", error))
        pickle.loads(data)  # noqa: S301 - an error whose own arguments do not rebuild it fails here, not in the gateway
        return data
    except Exception:  # noqa: BLE001 - what cannot travel is described
        return pickle.dumps(("error", RuntimeError(f"{type(error).__name__}: {error}")))

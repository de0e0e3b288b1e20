"""Runs a backend on the event loop: for vendor APIs, which only wait. Its takes are finished in a DSP process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from backends.interface import BackendUnavailable, Chunk, ChunkFailed, Event
from gateway.clock import Alarm, Clock
from gateway.engines import wire
from gateway.engines.dsp import Dsp
from gateway.engines.errors import ChunkRefused, HostStopped
from gateway.engines.finishing import finish
from gateway.engines.process import OnExit, OnMessage
from gateway.engines.worker import WorkerSpec, error_place, failed_message, malformed_take, ready_message, take_message

_MAX_CANCELLED = 4096
"""Number of cancelled chunks kept for `cancelled`. A backend need not give an event for them, so the oldest go."""

_KILL_S = 5.0
"""Seconds the calls of a stopped backend may take to end."""


class InlineFeed:
    """The `AsyncFeed` of a backend on the event loop."""

    def __init__(self, send: OnMessage, spec: WorkerSpec, clock: Clock) -> None:
        self._send = send
        self._clock = clock
        self._spec = spec
        self._inbox: deque[wire.ChunkMessage] = deque()
        self._changed = asyncio.Event()
        self._asked = 0
        self._taken: dict[int, tuple[wire.ChunkMessage, float]] = {}
        self._cancelled: dict[int, None] = {}
        self._on_cancel: dict[int, list[Callable[[], object]]] = {}
        self.closed = False

    async def take(self, n: int, wait: bool) -> list[Chunk]:
        """See `AsyncFeed.take`. A backend may wait here while its own calls run."""
        while True:
            self._ask(n, wait)
            while wait and not self._inbox and not self.closed:
                self._changed.clear()
                await self._changed.wait()
                if not self._inbox:
                    self._ask(n, wait)  # the delivered chunk was cancelled before it was taken
            messages = [self._inbox.popleft() for _ in range(min(n, len(self._inbox)))]
            now = self._clock.monotonic()
            self._taken.update((message.chunk_id, (message, now)) for message in messages)
            chunks = [chunk for message in messages if (chunk := self._open(message)) is not None]
            if chunks or not messages:
                return chunks

    def _ask(self, n: int, wait: bool) -> None:
        """Ask for the chunks that are missing to `n`."""
        more = 0 if self.closed else max(0, n - len(self._inbox) - self._asked)
        self._asked += more
        if more or (wait and not self._inbox):
            self._send(wire.Want(more, wait and not self._inbox))

    def cancelled(self, chunk_id: int) -> bool:
        """See `AsyncFeed.cancelled`."""
        return chunk_id in self._cancelled

    def when_cancelled(self, chunk_id: int, call: Callable[[], object]) -> None:
        """See `AsyncFeed.when_cancelled`."""
        if chunk_id in self._cancelled:
            call()
        elif chunk_id in self._taken:
            self._on_cancel.setdefault(chunk_id, []).append(call)

    def _open(self, message: wire.ChunkMessage) -> Chunk | None:
        try:
            return message.spec.chunk(message.chunk_id, self._spec.backend.RequestOptions, self._spec.load_material)
        except msgspec.ValidationError as error:
            self.settle(message.chunk_id)
            self._send(wire.Failed(message.chunk_id, "invalid_input", f"options: {error}", False))
            return None

    def settle(self, chunk_id: int) -> tuple[wire.ChunkMessage, float] | None:
        """End a chunk the backend gave an event for.

        Returns:
            The chunk's message and the monotonic time it was taken at; None if it was cancelled.
        """
        self._cancelled.pop(chunk_id, None)
        self._on_cancel.pop(chunk_id, None)
        return self._taken.pop(chunk_id, None)

    def deliver(self, chunks: list[wire.ChunkMessage]) -> None:
        """Add chunks from the host."""
        self._asked = max(0, self._asked - len(chunks))
        self._inbox.extend(chunks)
        self._changed.set()

    def cancel(self, chunk_ids: list[int]) -> None:
        """Drop chunks now, tell the backend, and ignore an event that it gives for one of them later."""
        for chunk_id in chunk_ids:
            if self._taken.pop(chunk_id, None) is not None:
                self._cancelled[chunk_id] = None
                while len(self._cancelled) > _MAX_CANCELLED:
                    del self._cancelled[next(iter(self._cancelled))]
            self._send(wire.Dropped(chunk_id))
            for call in self._on_cancel.pop(chunk_id, ()):
                call()
        unwanted = set(chunk_ids)
        self._inbox = deque(message for message in self._inbox if message.chunk_id not in unwanted)

    def close(self) -> None:
        """Close the feed: no more chunks follow."""
        self.closed = True
        self._changed.set()


class InlineWorker:
    """Runs a backend whose `synthesize` is an asynchronous generator."""

    pid: int | None = None

    def __init__(self, spec: WorkerSpec, dsp: Dsp, clock: Clock, on_message: OnMessage, on_exit: OnExit) -> None:
        self._spec = spec
        self._dsp = dsp
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._feed = InlineFeed(self._send, spec, clock)
        self._finishing: set[asyncio.Task[None]] = set()
        self._on_exit: OnExit | None = on_exit
        self._overdue = Alarm(clock, lambda: self._exited("did not end when it was stopped"))
        self._task = self._loop.create_task(self._run())

    def deliver(self, chunks: list[wire.ChunkMessage]) -> None:
        """See Worker."""
        self._feed.deliver(chunks)

    def cancel(self, chunk_ids: list[int]) -> None:
        """See Worker."""
        self._feed.cancel(chunk_ids)

    def close(self) -> None:
        """See Worker."""
        self._feed.close()

    def kill(self) -> None:
        """See Worker. A backend that goes on in spite of the cancel is left behind, so that the host can go on, too."""
        self._task.cancel()
        self._overdue.set(_KILL_S)

    def _send(self, message: wire.FromWorker) -> None:
        # The host must not receive a message inside its own call to this worker: it is not reentrant.
        if self._on_exit is not None:
            self._loop.call_soon(self._on_message, message)

    def _exited(self, reason: str) -> None:
        on_exit, self._on_exit = self._on_exit, None
        self._overdue.set(None)
        if on_exit is not None:
            self._loop.call_soon(on_exit, reason)

    async def _run(self) -> None:
        reason = "closed"
        try:
            await self._serve()
        except BackendUnavailable as error:
            self._send(wire.WorkerUnavailable(error.reason, error.cure))
        except Exception as error:  # noqa: BLE001 - any error of a plugin is reported, then this worker ends
            self._send(wire.Broken(f"{type(error).__name__}: {error}", error_place(error)))
            reason = error_place(error)
        except asyncio.CancelledError:
            reason = "stopped"
        finally:
            for task in self._finishing:
                task.cancel()
            self._exited(reason)

    async def _serve(self) -> None:
        spec = self._spec
        backend = spec.backend(spec.settings, spec.context)
        capabilities = backend.capabilities()
        await asyncio.to_thread(backend.load, self._loading)
        self._send(ready_message(backend))
        events: Any = backend.synthesize(self._feed)
        async with contextlib.AsyncExitStack() as stack:
            if isinstance(events, AsyncGenerator):  # after an error here its calls must end, too
                await stack.enter_async_context(contextlib.aclosing(events))
            async for event in events:
                held = self._feed.settle(event.chunk_id)
                if held is not None:
                    task = self._loop.create_task(self._finish(event, *held, capabilities.sample_rate))
                    self._finishing.add(task)
                    task.add_done_callback(self._finishing.discard)
        if self._finishing:
            await asyncio.gather(*self._finishing)
        if not self._feed.closed:
            raise RuntimeError("the backend stopped taking chunks")
        backend.unload()

    def _loading(self, share: float, text: str) -> None:
        self._loop.call_soon_threadsafe(self._on_message, wire.Loading(float(share), text))

    async def _finish(self, event: Event, message: wire.ChunkMessage, taken_at: float, rate: int) -> None:
        engine_s = self._clock.monotonic() - taken_at
        if isinstance(event, ChunkFailed):
            self._send(failed_message(event))
            return
        spec = message.spec
        try:
            outcome = await self._dsp.run(finish, self._spec.post, event, rate, spec.finish, spec.has_letters)
        except ChunkRefused as error:
            self._send(wire.Failed(event.chunk_id, error.kind, str(error), error.retryable))
        except HostStopped as error:
            self._send(wire.Failed(event.chunk_id, "failed", str(error), True))
        except Exception as error:  # noqa: BLE001 - without a message the chunk would wait for the chunk time-out
            self._send(malformed_take(event.chunk_id, error))
        else:
            self._send(take_message(event.chunk_id, outcome, event, engine_s))

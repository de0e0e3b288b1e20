"""A backend on the event loop: for vendor APIs, which only wait. Its takes are finished in the DSP process."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import msgspec

from backends.interface import BackendUnavailable, Chunk, ChunkFailed, Event
from gateway.engines import wire
from gateway.engines.dsp import Dsp
from gateway.engines.errors import ChunkRefused, HostStopped
from gateway.engines.finishing import finish
from gateway.engines.process import OnExit, OnMessage
from gateway.engines.worker import Spec, answer, no_take, where

_REMEMBERED = 4096
"""Cancelled chunks a backend may still ask about; it need not answer for them, so the oldest are forgotten."""


class InlineFeed:
    """The `AsyncFeed` of a backend on the event loop."""

    def __init__(self, tell: OnMessage, options_type: type[msgspec.Struct]) -> None:
        self._tell = tell
        self._options_type = options_type
        self._inbox: deque[wire.ChunkMessage] = deque()
        self._changed = asyncio.Event()
        self._asked = 0
        self._taken: dict[int, tuple[wire.ChunkMessage, float]] = {}
        self._cancelled: dict[int, None] = {}
        self.closed = False

    async def take(self, n: int, wait: bool) -> list[Chunk]:
        """See `AsyncFeed.take`. A backend may wait here while calls of its own are under way."""
        while True:
            self._ask(n, wait)
            while wait and not self._inbox and not self.closed:
                self._changed.clear()
                await self._changed.wait()
                if not self._inbox:
                    self._ask(n, wait)  # what came was cancelled before it was begun
            errands = [self._inbox.popleft() for _ in range(min(n, len(self._inbox)))]
            now = asyncio.get_running_loop().time()
            self._taken.update((errand.chunk_id, (errand, now)) for errand in errands)
            chunks = [chunk for errand in errands if (chunk := self._open(errand)) is not None]
            if chunks or not errands:
                return chunks

    def _ask(self, n: int, wait: bool) -> None:
        """Ask for what is missing to `n` chunks."""
        more = 0 if self.closed else max(0, n - len(self._inbox) - self._asked)
        self._asked += more
        if more or (wait and not self._inbox):
            self._tell(wire.Want(more, wait and not self._inbox))

    def cancelled(self, chunk_id: int) -> bool:
        """See `AsyncFeed.cancelled`."""
        return chunk_id in self._cancelled

    def _open(self, errand: wire.ChunkMessage) -> Chunk | None:
        try:
            options = msgspec.convert(errand.options, self._options_type)
        except msgspec.ValidationError as error:
            self.settle(errand.chunk_id)
            self._tell(wire.Failed(errand.chunk_id, "invalid_input", f"options: {error}", False))
            return None
        return Chunk(
            id=errand.chunk_id, text=errand.text, voice=errand.voice, language=errand.language, seed=errand.seed,
            options=options, ssml=errand.ssml,
        )  # fmt: skip

    def settle(self, chunk_id: int) -> tuple[wire.ChunkMessage, float] | None:
        """The backend answered for a chunk; None when nobody wants it any more."""
        self._cancelled.pop(chunk_id, None)
        return self._taken.pop(chunk_id, None)

    def deliver(self, errands: list[wire.ChunkMessage]) -> None:
        """Chunks came."""
        self._asked = max(0, self._asked - len(errands))
        self._inbox.extend(errands)
        self._changed.set()

    def cancel(self, chunk_ids: list[int]) -> None:
        """A call under way cannot be taken back, so its chunk is dropped at once and its answer thrown away."""
        for chunk_id in chunk_ids:
            if self._taken.pop(chunk_id, None) is not None:
                self._cancelled[chunk_id] = None
                while len(self._cancelled) > _REMEMBERED:
                    del self._cancelled[next(iter(self._cancelled))]
            self._tell(wire.Dropped(chunk_id))
        unwanted = set(chunk_ids)
        self._inbox = deque(errand for errand in self._inbox if errand.chunk_id not in unwanted)

    def close(self) -> None:
        """No more chunks will come."""
        self.closed = True
        self._changed.set()


class InlineWorker:
    """Runs a backend whose `synthesize` is an asynchronous generator."""

    pid: int | None = None

    def __init__(self, spec: Spec, dsp: Dsp, on_message: OnMessage, on_exit: OnExit) -> None:
        self._spec = spec
        self._dsp = dsp
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._feed = InlineFeed(self._tell, spec.backend.RequestOptions)
        self._finishing: set[asyncio.Task[None]] = set()
        self._task = self._loop.create_task(self._run(on_exit))

    def deliver(self, errands: list[wire.ChunkMessage]) -> None:
        """See Worker."""
        self._feed.deliver(errands)

    def cancel(self, chunk_ids: list[int]) -> None:
        """See Worker."""
        self._feed.cancel(chunk_ids)

    def close(self) -> None:
        """See Worker."""
        self._feed.close()

    def kill(self) -> None:
        """See Worker."""
        self._task.cancel()

    def _tell(self, message: wire.FromWorker) -> None:
        # Never from inside a call of the host's: messages come one at a time, as they do from a process.
        self._loop.call_soon(self._on_message, message)

    async def _run(self, on_exit: OnExit) -> None:
        reason = "closed"
        try:
            await self._serve()
        except BackendUnavailable as error:
            self._tell(wire.WorkerUnavailable(error.reason, error.cure))
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is reported, then this worker ends
            self._tell(wire.Broken(f"{type(error).__name__}: {error}", where(error)))
            reason = where(error)
        except asyncio.CancelledError:
            reason = "stopped"
        finally:
            for task in self._finishing:
                task.cancel()
            self._loop.call_soon(on_exit, reason)

    async def _serve(self) -> None:
        spec = self._spec
        backend = spec.backend(spec.settings, spec.context)
        capabilities = backend.capabilities()
        await asyncio.to_thread(backend.load, self._loading)
        self._tell(wire.WorkerReady(backend.revision()))
        events: Any = backend.synthesize(self._feed)
        async for event in events:
            held = self._feed.settle(event.chunk_id)
            if held is not None:
                task = self._loop.create_task(self._answer(event, *held, capabilities.sample_rate))
                self._finishing.add(task)
                task.add_done_callback(self._finishing.discard)
        if self._finishing:
            await asyncio.gather(*self._finishing)
        if not self._feed.closed:
            raise RuntimeError("the backend stopped taking chunks")
        backend.unload()

    def _loading(self, share: float, text: str) -> None:
        self._loop.call_soon_threadsafe(self._on_message, wire.Loading(float(share), text))

    async def _answer(self, event: Event, errand: wire.ChunkMessage, taken_at: float, rate: int) -> None:
        engine_s = self._loop.time() - taken_at
        if isinstance(event, ChunkFailed):
            self._tell(wire.Failed(event.chunk_id, event.kind, event.error, event.retryable))
            return
        try:
            outcome = await self._dsp.run(
                finish, self._spec.post, event.pcm, event.rate, rate, errand.finish, errand.has_letters
            )
        except ChunkRefused as error:
            self._tell(wire.Failed(event.chunk_id, error.kind, str(error), error.retryable))
        except HostStopped as error:
            self._tell(wire.Failed(event.chunk_id, "failed", str(error), True))
        except Exception as error:  # noqa: BLE001 - else its chunk would wait until the worker seems silent
            self._tell(no_take(event.chunk_id, error))
        else:
            self._tell(answer(event.chunk_id, outcome, event, engine_s))

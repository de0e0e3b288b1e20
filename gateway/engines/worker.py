"""The worker process: loads one backend, asks for chunks, finishes takes and sends them back.

The engine runs in the main thread. A reader thread fills the feed, so a cancel arrives while the engine computes; the
same thread ends the process when the gateway is gone.
"""

from __future__ import annotations

import os
import pickle
import queue
import socket
import threading
import time
import traceback
from collections import deque
from typing import Any

import msgspec

from backends.interface import (
    Backend,
    BackendContext,
    BackendUnavailable,
    Chunk,
    ChunkFailed,
    Event,
    LoadMaterial,
    Take,
)
from gateway.engines import wire
from gateway.engines.child import bind_to_parent
from gateway.engines.finishing import Refusal, finish
from gateway.engines.order import FinishedTake, Post, TakeResult


class WorkerSpec(msgspec.Struct, frozen=True):
    """The backend, settings and post function of a worker; pickled, so class and function must be importable.

    Args:
        beat_s: shortest time between two heartbeats of a busy engine, in seconds.
        load_material: gives backends the recordings of voices.
    """

    backend: type[Backend]
    settings: Any
    context: BackendContext
    post: Post
    beat_s: float
    load_material: LoadMaterial | None = None


class WorkerFeed:
    """The `Feed` of a worker: asks the gateway for as many chunks as the engine has room for."""

    def __init__(self, connection: wire.MessageSocket, spec: WorkerSpec) -> None:
        self._connection = connection
        self._spec = spec
        self._last_beat = time.monotonic()
        self._changed = threading.Condition()
        self._inbox: deque[wire.ChunkMessage] = deque()
        self._asked = 0
        self._taken: dict[int, tuple[wire.ChunkMessage, float]] = {}
        self._cancelled: set[int] = set()
        self.closed = False

    # -- called by the engine -------------------------------------------------------------------
    def take(self, n: int, wait: bool) -> list[Chunk]:
        """See `Feed.take`. With `wait`, chunks that were taken before and have no event have failed."""
        while True:
            messages = self._next(n, wait)
            chunks = [chunk for message in messages if (chunk := self._open(message)) is not None]
            if chunks or not messages:
                return chunks

    def cancelled(self, chunk_id: int) -> bool:
        """See `Feed.cancelled`. A call also sends the heartbeat when it is due."""
        now = time.monotonic()
        if now - self._last_beat > self._spec.beat_s:
            self._last_beat = now
            self._connection.send(wire.pack(wire.Beat()))
        with self._changed:
            if chunk_id not in self._cancelled:
                return False
            reported = self._taken.pop(chunk_id, None) is None
        if not reported:
            self._connection.send(wire.pack(wire.Dropped(chunk_id)))
        return True

    def _next(self, n: int, wait: bool) -> list[wire.ChunkMessage]:
        with self._changed:
            unanswered = list(self._taken) if wait else []
            self._taken = {} if wait else self._taken
            cancelled = self._cancelled.intersection(unanswered)
            if wait:
                self._cancelled.clear()
        for chunk_id in unanswered:
            if chunk_id in cancelled:
                self._connection.send(wire.pack(wire.Dropped(chunk_id)))
            else:
                self._connection.send(wire.pack(wire.Failed(chunk_id, "failed", "the backend gave no take", True)))
        self._ask(n, wait)
        with self._changed:
            while wait and not self._inbox and not self.closed:
                if self._asked >= n:
                    self._changed.wait()
                    continue
                # A delivered chunk was cancelled before the engine took it: ask for another, else none would come.
                self._changed.release()
                try:
                    self._ask(n, wait)
                finally:
                    self._changed.acquire()
            now = time.monotonic()
            messages = [self._inbox.popleft() for _ in range(min(n, len(self._inbox)))]
            self._taken.update((message.chunk_id, (message, now)) for message in messages)
        return messages

    def _ask(self, n: int, wait: bool) -> None:
        """Ask for the chunks that are missing to `n`."""
        with self._changed:
            more = 0 if self.closed else max(0, n - len(self._inbox) - self._asked)
            self._asked += more
            idle = wait and not self._inbox
        if more or idle:
            self._connection.send(wire.pack(wire.Want(more, idle)))

    def _open(self, message: wire.ChunkMessage) -> Chunk | None:
        try:
            return message.spec.chunk(message.chunk_id, self._spec.backend.RequestOptions, self._spec.load_material)
        except msgspec.ValidationError as error:
            self.settle(message.chunk_id)
            failed = wire.Failed(message.chunk_id, "invalid_input", f"options: {error}", False)
            self._connection.send(wire.pack(failed))
            return None

    def settle(self, chunk_id: int) -> tuple[wire.ChunkMessage, float] | None:
        """End a chunk the engine gave an event for.

        Returns:
            The chunk's message and the monotonic time it was taken at; None if it was cancelled.
        """
        with self._changed:
            held = self._taken.pop(chunk_id, None)
            cancelled = chunk_id in self._cancelled
            self._cancelled.discard(chunk_id)
        if held is not None and cancelled:
            self._connection.send(wire.pack(wire.Dropped(chunk_id)))
        return None if cancelled else held

    # -- called by the reader -------------------------------------------------------------------
    def deliver(self, chunks: list[wire.ChunkMessage]) -> None:
        """Add chunks from the gateway."""
        with self._changed:
            self._inbox.extend(chunks)
            self._asked = max(0, self._asked - len(chunks))
            self._changed.notify_all()

    def cancel(self, chunk_ids: list[int]) -> None:
        """Drop the chunks that wait here; for the others the engine learns of it from `cancelled`."""
        unwanted = set(chunk_ids)
        with self._changed:
            dropped = [message.chunk_id for message in self._inbox if message.chunk_id in unwanted]
            self._inbox = deque(message for message in self._inbox if message.chunk_id not in unwanted)
            self._cancelled |= unwanted.intersection(self._taken)
        for chunk_id in dropped:
            self._connection.send(wire.pack(wire.Dropped(chunk_id)))
        if dropped:
            with self._changed:
                self._changed.notify_all()

    def close(self) -> None:
        """Close the feed: no more chunks follow."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()


class _TakeSender:
    """Finishes takes and sends them, in a thread of its own if the engine batches, so that no batch waits for it."""

    def __init__(
        self, connection: wire.MessageSocket, feed: WorkerFeed, post: Post, rate: int, concurrency: int
    ) -> None:
        self._connection, self._feed, self._post, self._rate = connection, feed, post, rate
        self._queue: queue.Queue[tuple[Take, wire.ChunkMessage, float] | None] = queue.Queue(maxsize=2 * concurrency)
        self._thread = threading.Thread(target=self._run, name="take-sender", daemon=True) if concurrency > 1 else None
        if self._thread:
            self._thread.start()

    def put(self, event: Event) -> None:
        held = self._feed.settle(event.chunk_id)
        if held is None:
            return
        message, taken_at = held
        if isinstance(event, ChunkFailed):
            self._connection.send(wire.pack(failed_message(event)))
            return
        engine_s = time.monotonic() - taken_at
        if self._thread:
            self._queue.put((event, message, engine_s))
        else:
            self._finish(event, message, engine_s)

    def close(self) -> None:
        if self._thread:
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (spoken := self._queue.get()) is not None:
            self._finish(*spoken)

    def _finish(self, take: Take, message: wire.ChunkMessage, engine_s: float) -> None:
        spec = message.spec
        try:
            outcome = finish(self._post, take, self._rate, spec.finish, spec.has_letters)
            reply = wire.pack(take_message(message.chunk_id, outcome, take, engine_s))
        except Exception as error:  # noqa: BLE001 - a malformed take must not end the thread that finishes the others
            reply = wire.pack(malformed_take(message.chunk_id, error))
        self._connection.send(reply)


def ready_message(backend: Backend) -> wire.WorkerReady:
    """Build the message of a loaded backend.

    Raises:
        TypeError: it has no voices.
    """
    voices = tuple(backend.voices())
    if not voices:
        raise TypeError("it has no voices after loading")
    return wire.WorkerReady(backend.revision(), voices)


def failed_message(event: ChunkFailed) -> wire.Failed:
    """Build the message for a chunk that the backend could not speak."""
    return wire.Failed(event.chunk_id, event.kind, event.error, event.retryable, event.retry_after_s)


def malformed_take(chunk_id: int, error: Exception) -> wire.Failed:
    """Build the message for a take that raises when it is finished."""
    return wire.Failed(chunk_id, "failed", f"the backend gave no take that can be used: {error_place(error)}", False)


def take_message(
    chunk_id: int, outcome: FinishedTake | Refusal, take: Take, engine_s: float
) -> wire.TakeMessage | wire.Failed:
    """Build the message for a finished or refused take."""
    if isinstance(outcome, Refusal):
        return wire.Failed(chunk_id, outcome.kind, outcome.error, outcome.retryable)
    finished = msgspec.structs.asdict(outcome)
    return wire.TakeMessage(chunk_id, TakeResult(**finished, rate=take.rate, warnings=take.warnings, engine_s=engine_s))


def _read(connection: wire.MessageSocket, feed: WorkerFeed) -> None:
    try:
        while (body := connection.receive()) is not None:
            match wire.decode_to_worker(body):
                case wire.Deliver(chunks):
                    feed.deliver(chunks)
                case wire.Cancel(chunk_ids):
                    feed.cancel(chunk_ids)
                case wire.Close():
                    feed.close()
    except Exception as error:  # noqa: BLE001 - a worker that cannot receive messages must end
        connection.send(wire.pack(wire.Broken(error_place(error), error_place(error))))
    finally:
        # The gateway is usually gone, and the engine may be in native code that cannot be interrupted.
        os._exit(1)


def error_place(error: BaseException) -> str:
    """Describe an error by its type and source line, without its message: that may quote the text of a chunk."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119
    return f"{type(error).__name__}{place}"


def _serve(connection: wire.MessageSocket, spec: WorkerSpec) -> None:
    backend = spec.backend(spec.settings, spec.context)
    capabilities = backend.capabilities()
    feed = WorkerFeed(connection, spec)
    threading.Thread(target=_read, args=(connection, feed), name="reader", daemon=True).start()
    backend.load(lambda share, text: connection.send(wire.pack(wire.Loading(float(share), text))))
    connection.send(wire.pack(ready_message(backend)))
    sender = _TakeSender(connection, feed, spec.post, capabilities.sample_rate, capabilities.concurrency)
    events: Any = backend.synthesize(feed)
    for event in events:
        sender.put(event)
    sender.close()
    if not feed.closed:
        raise RuntimeError("the backend stopped taking chunks")
    backend.unload()


def main(fd: int) -> None:
    """Run the worker until the gateway sends `Close` or is gone."""
    bind_to_parent()
    connection = wire.MessageSocket(socket.socket(fileno=fd))
    first = connection.receive()
    if first is None:
        return
    status = 0
    try:
        _serve(connection, pickle.loads(first))  # noqa: S301 - from our own parent, over a private socket
    except BackendUnavailable as error:
        connection.send(wire.pack(wire.WorkerUnavailable(error.reason, error.cure)))
        status = 1
    except Exception as error:  # noqa: BLE001 - any error of a plugin is reported, then this process ends
        connection.send(wire.pack(wire.Broken(f"{type(error).__name__}: {error}", error_place(error))))
        status = 1
    os._exit(status)  # an engine's library threads must not keep the process and its memory

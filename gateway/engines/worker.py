"""The worker process: loads one backend, pulls chunks, finishes takes, sends them back.

The main thread belongs to the engine. A reader thread fills the feed, so a cancel arrives while the engine computes;
it ends the process when the gateway is gone.
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

from backends.interface import Backend, BackendContext, BackendUnavailable, Chunk, ChunkFailed, Event, Take
from gateway.engines import wire
from gateway.engines.child import obey_parent_only
from gateway.engines.finishing import Outcome, finish
from gateway.engines.order import Post


class Spec(msgspec.Struct, frozen=True):
    """What a worker is started with; pickled, so class and function go by name.

    Args:
        beat_s: how often at most a busy engine says that it lives.
    """

    backend: type[Backend]
    settings: Any
    context: BackendContext
    post: Post
    beat_s: float


class WorkerFeed:
    """The `Feed` of a worker: asks the gateway for as many chunks as the engine has room for."""

    def __init__(self, line: wire.MessageSocket, options_type: type[msgspec.Struct], beat_s: float) -> None:
        self._line = line
        self._options_type = options_type
        self._beat_s = beat_s
        self._beaten = time.monotonic()
        self._changed = threading.Condition()
        self._inbox: deque[wire.ChunkMessage] = deque()
        self._asked = 0
        self._taken: dict[int, tuple[wire.ChunkMessage, float]] = {}
        self._cancelled: set[int] = set()
        self.closed = False

    # -- the engine's side ----------------------------------------------------------------------
    def take(self, n: int, wait: bool) -> list[Chunk]:
        """See `Feed.take`. An engine that waits holds nothing: what it took and did not answer for has failed."""
        while True:
            errands = self._next(n, wait)
            chunks = [chunk for errand in errands if (chunk := self._open(errand)) is not None]
            if chunks or not errands:
                return chunks

    def cancelled(self, chunk_id: int) -> bool:
        """See `Feed.cancelled`. Asking is also how an engine shows that it lives."""
        now = time.monotonic()
        if now - self._beaten > self._beat_s:
            self._beaten = now
            self._line.send(wire.pack(wire.Beat()))
        with self._changed:
            if chunk_id not in self._cancelled:
                return False
            told = self._taken.pop(chunk_id, None) is None
        if not told:
            self._line.send(wire.pack(wire.Dropped(chunk_id)))
        return True

    def _next(self, n: int, wait: bool) -> list[wire.ChunkMessage]:
        with self._changed:
            forgotten = list(self._taken) if wait else []
            self._taken = {} if wait else self._taken
            cancelled = self._cancelled.intersection(forgotten)
            if wait:
                self._cancelled.clear()
        for chunk_id in forgotten:
            if chunk_id in cancelled:
                self._line.send(wire.pack(wire.Dropped(chunk_id)))
            else:
                self._line.send(wire.pack(wire.Failed(chunk_id, "failed", "the backend gave no take", True)))
        self._ask(n, wait)
        with self._changed:
            while wait and not self._inbox and not self.closed:
                if self._asked >= n:
                    self._changed.wait()
                    continue
                # What came was cancelled before it was begun: the gateway thinks that we have it, and waits.
                self._changed.release()
                try:
                    self._ask(n, wait)
                finally:
                    self._changed.acquire()
            now = time.monotonic()
            errands = [self._inbox.popleft() for _ in range(min(n, len(self._inbox)))]
            self._taken.update((errand.chunk_id, (errand, now)) for errand in errands)
        return errands

    def _ask(self, n: int, wait: bool) -> None:
        """Ask for what is missing to `n` chunks."""
        with self._changed:
            more = 0 if self.closed else max(0, n - len(self._inbox) - self._asked)
            self._asked += more
            idle = wait and not self._inbox
        if more or idle:
            self._line.send(wire.pack(wire.Want(more, idle)))

    def _open(self, errand: wire.ChunkMessage) -> Chunk | None:
        try:
            options = msgspec.convert(errand.options, self._options_type)
        except msgspec.ValidationError as error:
            self.settle(errand.chunk_id)
            self._line.send(wire.pack(wire.Failed(errand.chunk_id, "invalid_input", f"options: {error}", False)))
            return None
        return Chunk(
            id=errand.chunk_id, text=errand.text, voice=errand.voice, language=errand.language, seed=errand.seed,
            options=options, ssml=errand.ssml,
        )  # fmt: skip

    def settle(self, chunk_id: int) -> tuple[wire.ChunkMessage, float] | None:
        """The engine answered for a chunk: its errand and when it was taken; None when nobody wants it any more."""
        with self._changed:
            held = self._taken.pop(chunk_id, None)
            unwanted = chunk_id in self._cancelled
            self._cancelled.discard(chunk_id)
        if held is not None and unwanted:
            self._line.send(wire.pack(wire.Dropped(chunk_id)))
        return None if unwanted else held

    # -- the gateway's side ---------------------------------------------------------------------
    def deliver(self, errands: list[wire.ChunkMessage]) -> None:
        """Chunks came."""
        with self._changed:
            self._inbox.extend(errands)
            self._asked = max(0, self._asked - len(errands))
            self._changed.notify_all()

    def cancel(self, chunk_ids: list[int]) -> None:
        """Chunks that are not begun are dropped here; for the others the engine is told when it asks."""
        unwanted = set(chunk_ids)
        with self._changed:
            dropped = [errand.chunk_id for errand in self._inbox if errand.chunk_id in unwanted]
            self._inbox = deque(errand for errand in self._inbox if errand.chunk_id not in unwanted)
            self._cancelled |= unwanted.intersection(self._taken)
        for chunk_id in dropped:
            self._line.send(wire.pack(wire.Dropped(chunk_id)))
        if dropped:
            with self._changed:
                self._changed.notify_all()

    def close(self) -> None:
        """No more chunks will come."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()


class _Outlet:
    """Finishes takes and sends them. An engine that batches gets a thread for it, so its batch never waits."""

    def __init__(self, line: wire.MessageSocket, feed: WorkerFeed, post: Post, rate: int, concurrency: int) -> None:
        self._line, self._feed, self._post, self._rate = line, feed, post, rate
        self._queue: queue.Queue[tuple[Take, wire.ChunkMessage, float] | None] = queue.Queue(maxsize=2 * concurrency)
        self._thread = threading.Thread(target=self._run, name="outlet", daemon=True) if concurrency > 1 else None
        if self._thread:
            self._thread.start()

    def put(self, event: Event) -> None:
        held = self._feed.settle(event.chunk_id)
        if held is None:
            return
        errand, taken_at = held
        if isinstance(event, ChunkFailed):
            failed = wire.Failed(event.chunk_id, event.kind, event.error, event.retryable)
            self._line.send(wire.pack(failed))
            return
        engine_s = time.monotonic() - taken_at
        if self._thread:
            self._queue.put((event, errand, engine_s))
        else:
            self._finish(event, errand, engine_s)

    def close(self) -> None:
        if self._thread:
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            self._finish(*job)

    def _finish(self, take: Take, errand: wire.ChunkMessage, engine_s: float) -> None:
        try:
            outcome = finish(self._post, take.pcm, take.rate, self._rate, errand.finish, errand.has_letters)
            told = wire.pack(answer(errand.chunk_id, outcome, take, engine_s))
        except Exception as error:  # noqa: BLE001 - a take that is none must not end the thread that finishes the others
            told = wire.pack(no_take(errand.chunk_id, error))
        self._line.send(told)


def no_take(chunk_id: int, error: Exception) -> wire.Failed:
    """The message about what a backend gave as a take and is none."""
    return wire.Failed(chunk_id, "failed", f"the backend gave no take that can be used: {where(error)}", False)


def answer(chunk_id: int, outcome: Outcome, take: Take, engine_s: float) -> wire.TakeMessage | wire.Failed:
    """The message about a finished take."""
    if outcome.failed is not None:
        return wire.Failed(chunk_id, outcome.failed.kind, outcome.failed.error, outcome.failed.retryable)
    return wire.TakeMessage(
        chunk_id, outcome.file, outcome.samples, take.rate, outcome.pcm, outcome.gain_db, take.warnings, engine_s,
        outcome.report,
    )  # fmt: skip


def _read(line: wire.MessageSocket, feed: WorkerFeed) -> None:
    try:
        while (body := line.receive()) is not None:
            match wire.decode_to_worker(body):
                case wire.Deliver(errands):
                    feed.deliver(errands)
                case wire.Cancel(chunk_ids):
                    feed.cancel(chunk_ids)
                case wire.Close():
                    feed.close()
    except Exception as error:  # noqa: BLE001 - a worker that hears nothing any more is of no use
        line.send(wire.pack(wire.Broken(where(error), where(error))))
    finally:
        # Mostly the gateway is gone; nobody is left to tell, and the engine may be deep in native code.
        os._exit(1)


def where(error: BaseException) -> str:
    """What kind of error, and where it was raised: for people who may not read what was being spoken."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119
    return f"{type(error).__name__}{place}"


def _serve(line: wire.MessageSocket, spec: Spec) -> None:
    backend = spec.backend(spec.settings, spec.context)
    capabilities = backend.capabilities()
    feed = WorkerFeed(line, spec.backend.RequestOptions, spec.beat_s)
    threading.Thread(target=_read, args=(line, feed), name="reader", daemon=True).start()
    backend.load(lambda share, text: line.send(wire.pack(wire.Loading(float(share), text))))
    line.send(wire.pack(wire.WorkerReady(backend.revision())))
    outlet = _Outlet(line, feed, spec.post, capabilities.sample_rate, capabilities.concurrency)
    events: Any = backend.synthesize(feed)
    for event in events:
        outlet.put(event)
    outlet.close()
    if not feed.closed:
        raise RuntimeError("the backend stopped taking chunks")
    backend.unload()


def main(fd: int) -> None:
    """Run until the gateway says close or goes away."""
    obey_parent_only()
    line = wire.MessageSocket(socket.socket(fileno=fd))
    first = line.receive()
    if first is None:
        return
    status = 0
    try:
        _serve(line, pickle.loads(first))  # noqa: S301 - from our own parent, over a private socket
    except BackendUnavailable as error:
        line.send(wire.pack(wire.WorkerUnavailable(error.reason, error.cure)))
        status = 1
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises is reported, then this process ends
        line.send(wire.pack(wire.Broken(f"{type(error).__name__}: {error}", where(error))))
        status = 1
    os._exit(status)  # library threads of an engine must not keep the process, nor its memory, alive

"""The worker interface, and the worker that runs in a process."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.engines import wire
from gateway.engines.child import Child
from gateway.engines.worker import WorkerSpec

OnMessage = Callable[[wire.FromWorker], None]
OnExit = Callable[[str], None]


class Worker(Protocol):
    """One engine, in any place. It reports by messages; `on_exit` is called once, after the last message."""

    @property
    def pid(self) -> int | None:
        """Id of the worker's own process; None if it has none."""

    def deliver(self, chunks: list[wire.ChunkMessage]) -> None:
        """Give the worker chunks it asked for."""

    def cancel(self, chunk_ids: list[int]) -> None:
        """Cancel chunks; the worker answers each with `Dropped`, or with its take or failure if that came first."""

    def close(self) -> None:
        """Let the worker finish the chunks it holds, unload and exit."""

    def kill(self) -> None:
        """End the worker now."""


MakeWorker = Callable[[OnMessage, OnExit], Worker]


class ProcessWorker:
    """Runs `gateway.engines.worker` in a process of its own."""

    def __init__(self, spec: WorkerSpec, on_message: OnMessage, on_exit: OnExit) -> None:
        self._child = Child(
            "gateway.engines.worker",
            pickle.dumps(spec),
            lambda body: on_message(wire.decode_from_worker(body)),
            on_exit,
            thread_limits(spec.context.threads),
        )

    @property
    def pid(self) -> int | None:
        """See Worker."""
        return self._child.pid

    def deliver(self, chunks: list[wire.ChunkMessage]) -> None:
        """See Worker."""
        self._child.send(wire.pack(wire.Deliver(chunks)))

    def cancel(self, chunk_ids: list[int]) -> None:
        """See Worker."""
        self._child.send(wire.pack(wire.Cancel(chunk_ids)))

    def close(self) -> None:
        """See Worker."""
        self._child.send(wire.pack(wire.Close()))

    def kill(self) -> None:
        """See Worker."""
        self._child.kill()


def thread_limits(threads: int) -> Mapping[str, str]:
    """Environment variables that limit the threads of numeric libraries; they read them when they are imported."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return dict.fromkeys(names, str(threads))

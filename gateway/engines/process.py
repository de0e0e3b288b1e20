"""A worker that is a supervised process."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.engines import wire
from gateway.engines.child import Child
from gateway.engines.worker import Spec

OnMessage = Callable[[wire.FromWorker], None]
OnExit = Callable[[str], None]


class Worker(Protocol):
    """One engine, wherever it runs. Everything it has to say comes as messages; `on_exit` comes once, last."""

    @property
    def pid(self) -> int | None:
        """Of its process, if it has one of its own."""

    def deliver(self, errands: list[wire.ChunkMessage]) -> None:
        """Chunks it asked for."""

    def cancel(self, chunk_ids: list[int]) -> None:
        """Chunks nobody wants any more; it answers `Dropped` (or what it had done already)."""

    def close(self) -> None:
        """Finish what is held, unload, exit."""

    def kill(self) -> None:
        """Exit now."""


MakeWorker = Callable[[OnMessage, OnExit], Worker]


class ProcessWorker:
    """Runs `gateway.engines.worker` in a process of its own."""

    def __init__(self, spec: Spec, on_message: OnMessage, on_exit: OnExit) -> None:
        self._child = Child(
            "gateway.engines.worker",
            pickle.dumps(spec),
            lambda body: on_message(wire.decode_from_worker(body)),
            on_exit,
            thread_limits(spec.context.threads),
        )

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._child.pid

    def deliver(self, errands: list[wire.ChunkMessage]) -> None:
        """See Worker."""
        self._child.send(wire.pack(wire.Deliver(errands)))

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
    """Environment that keeps numeric libraries to their share of the cores; they read it when they are imported."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return dict.fromkeys(names, str(threads))

"""Python's garbage collector, set to run rarely, but always after a fixed amount of received data."""

from __future__ import annotations

import asyncio
import gc

_THRESHOLDS = (10_000, 20, 50)


class Collector:
    """Runs a full collection each time requests have brought a given number of bytes.

    Python's own thresholds cost a cached answer a sixth of its CPU (benchmarks/NOTES.md). With higher thresholds a full
    collection almost never starts by itself, and a reference cycle that holds a request's body would stay for ever.

    Args:
        every_bytes: bytes of requests between two full collections.
    """

    def __init__(self, every_bytes: int = 64_000_000) -> None:
        self._every_bytes = every_bytes
        self._received_bytes = 0

    def begin(self) -> None:
        """Exclude the objects loaded so far from later collections, and raise the thresholds."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)

    def received(self, size_bytes: int) -> None:
        """Count bytes of requests. Called on the event loop; a collection that is due runs in the next turn."""
        self._received_bytes += size_bytes
        if self._received_bytes >= self._every_bytes:
            self._received_bytes = 0
            asyncio.get_running_loop().call_soon(gc.collect)

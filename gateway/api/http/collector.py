"""Python's garbage collector, as a server needs it: seldom, and surely after much has come in."""

from __future__ import annotations

import asyncio
import gc

_THRESHOLDS = (10_000, 20, 50)


class Collector:
    """Runs the full collection when requests have brought so many bytes since the last one.

    With thresholds that spare a cached answer (Python's own took a sixth of its CPU, benchmarks/NOTES.md) a full round
    practically never comes by itself, and a cycle that holds the body of a request would stay for good.

    Args:
        every_bytes: of requests, between two full collections.
    """

    def __init__(self, every_bytes: int = 64_000_000) -> None:
        self._every_bytes = every_bytes
        self._received_bytes = 0

    def begin(self) -> None:
        """Set what was loaded so far apart, so that it is not looked at again and again, and raise the thresholds."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)

    def received(self, size_bytes: int) -> None:
        """Count bytes of requests. Called on the event loop; what is due runs in a turn of its own."""
        self._received_bytes += size_bytes
        if self._received_bytes >= self._every_bytes:
            self._received_bytes = 0
            asyncio.get_running_loop().call_soon(gc.collect)

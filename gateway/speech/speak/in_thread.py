"""Runs steps in a thread that own a file or an encoder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(step: Callable[[], T]) -> T:
    """Run a step in a thread. A cancel is raised when the step has ended, so that its file can then be closed.

    `asyncio.to_thread` alone leaves the thread at work: libsndfile ends the process if a file is closed while another
    thread writes to it.
    """
    running = asyncio.create_task(asyncio.to_thread(step))
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait((running,))
        except asyncio.CancelledError as cancel:
            cancelled = cancel
    if cancelled is not None:
        running.exception()  # the cancel takes its place
        raise cancelled
    return running.result()

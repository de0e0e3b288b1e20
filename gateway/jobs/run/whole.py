"""Steps that are done whole: begun for a caller, and not broken off when the caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from gateway.errors import VoxgateError
from gateway.settings.logs import get_logger
from storage.errors import StorageError

T = TypeVar("T")

log = get_logger("voxgate.jobs")


class Whole:
    """Runs such steps, each as a task of its own.

    A commit cannot be called back. What has to follow it (a claimed job is run, a hit is counted) must follow whether
    or not somebody waits for it still.
    """

    def __init__(self) -> None:
        self._steps: set[asyncio.Task[Any]] = set()

    async def __call__(self, step: Coroutine[Any, Any, T]) -> T:
        """Do the step and give its result; a caller that is cancelled stops waiting for it, and that is all."""
        task = asyncio.create_task(step)
        self._steps.add(task)
        task.add_done_callback(self._steps.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_tell)
            raise

    async def settled(self) -> None:
        """Wait until every step that has begun is done."""
        while self._steps:
            await asyncio.wait(self._steps)


def _tell(task: asyncio.Task[Any]) -> None:
    """Log the failure of a step whose caller is not there to hear of it."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, (StorageError, VoxgateError)):
        log.warning("left_request_failed", code=error.code, reason=str(error))
    elif error is not None:
        log.error("left_request_crashed", exc_info=error)

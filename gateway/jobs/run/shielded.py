"""Runs steps that the cancel of a caller does not stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from gateway.errors import VoxgateError
from gateway.settings.logs import get_logger
from storage.errors import StorageError

T = TypeVar("T")

log = get_logger("voxgate.jobs")


class ShieldedSteps:
    """Runs each step as a task that a cancel of its caller does not stop.

    A commit cannot be undone, so the actions that belong to it (a claimed job is run, a hit is counted) must follow
    even if the caller has disconnected.
    """

    def __init__(self) -> None:
        self._steps: set[asyncio.Task[Any]] = set()

    async def __call__(self, step: Coroutine[Any, Any, T]) -> T:
        """Run the step and return its result; a cancel ends only the caller's wait."""
        task = asyncio.create_task(step)
        self._steps.add(task)
        task.add_done_callback(self._steps.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    async def settled(self) -> None:
        """Wait until all started steps are done."""
        while self._steps:
            await asyncio.wait(self._steps)


def _log_failure(task: asyncio.Task[Any]) -> None:
    """Log the failure of a step whose caller was cancelled."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, (StorageError, VoxgateError)):
        log.warning("left_request_failed", code=error.code, reason=str(error))
    elif error is not None:
        log.error("left_request_crashed", exc_info=error)

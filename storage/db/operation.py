"""The operation: a write of one caller, as the writer queues it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Connection, Executable

from storage.db.notices import Topic

Write: TypeAlias = Callable[[Connection, Sequence[Any]], None]


class Operation(msgspec.Struct):
    """A queued write: rows for a statement or for a function that writes the rows of a group, or a function of the
    connection; `future` gets the result.

    Args:
        topic: the topic to notify other servers of when the rows are committed.
        lazy: the commit need not wait for the disk.
        then: called on the event loop after the commit, even if the caller was cancelled.
    """

    future: asyncio.Future[Any]
    statement: Executable | Write | None = None
    rows: Sequence[Any] = ()
    fn: Callable[[Connection], Any] | None = None
    topic: Topic | None = None
    lazy: bool = False
    then: Callable[[], None] | None = None

    def answer(self, result: Any, error: BaseException | None) -> None:
        """Call `then` after a commit, and set the result or error unless the caller was cancelled."""
        if error is None and self.then is not None:
            try:
                self.then()
            except Exception as crashed:  # noqa: BLE001 - the caller gets it; the rest of the group is not affected
                error = crashed
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
            return
        try:
            self.future.set_exception(error)
        except TypeError as instead:  # a future refuses a StopIteration
            self.future.set_exception(instead)

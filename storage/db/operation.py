"""The operation: a write of one caller, as the writer queues it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Connection, Executable

from storage.db.notices import Topic

Write: TypeAlias = Callable[[Connection, Sequence[Any]], None]


class Operation:
    """A queued write: rows for a statement or for a function that writes the rows of a group, or a function of the
    connection; `future` gets the result.

    Args:
        topic: the topic to notify other servers of when the rows are committed.
        lazy: the commit need not wait for the disk.
    """

    __slots__ = ("fn", "future", "lazy", "rows", "statement", "topic")

    def __init__(
        self,
        future: asyncio.Future[Any],
        statement: Executable | Write | None = None,
        rows: Sequence[Any] = (),
        fn: Callable[[Connection], Any] | None = None,
        topic: Topic | None = None,
        lazy: bool = False,
    ) -> None:
        self.lazy = lazy
        self.topic = topic
        self.future = future
        self.statement = statement
        self.rows = rows
        self.fn = fn

    def answer(self, result: Any, error: BaseException | None) -> None:
        """Set the result or error, unless the caller was cancelled."""
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
            return
        try:
            self.future.set_exception(error)
        except TypeError as instead:  # a future refuses a StopIteration
            self.future.set_exception(instead)

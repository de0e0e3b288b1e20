"""Group commit: everything queued while the last transaction was committing becomes the next one.

A group is one transaction: one executemany per kind of statement, then the functions in their order. A group that
fails is rolled back and its operations are replayed one by one, each in a transaction of its own, so that only the
one at fault fails. (A savepoint per operation was measured seven times slower.) Nobody is answered before the
commit that holds his rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Executable, RootTransaction

from storage.errors import StorageError, translate

T = TypeVar("T")

MAX_GROUP = 512


class _Operation:
    """Rows for a statement, or one function of the connection; `future` gets its result."""

    __slots__ = ("fn", "future", "rows", "statement")

    def __init__(
        self,
        future: asyncio.Future[Any],
        statement: Executable | None = None,
        rows: Sequence[Mapping[str, Any]] = (),
        fn: Callable[[Connection], Any] | None = None,
    ) -> None:
        self.future = future
        self.statement = statement
        self.rows = rows
        self.fn = fn


class _Refused(Exception):
    """The transaction could not even begin; replaying it would only wait again."""


class Writer:
    """The only way to write: one connection, one thread, one transaction at a time."""

    def __init__(self, engine: Engine, place: str) -> None:
        self._engine = engine
        self._place = place
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="voxgate-writer")
        self._connection: Connection | None = None
        self._queue: deque[_Operation] = deque()
        self._draining: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Connect."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connect)

    async def insert(self, statement: Executable, params: Mapping[str, Any]) -> None:
        """Execute `statement` with one row; rows of the same statement object share one executemany.

        Raises:
            StorageError: the database is full, read-only or locked.
            IntegrityError: this very row breaks a constraint.
        """
        await self._submit(_Operation(asyncio.get_running_loop().create_future(), statement, (params,)))

    async def insert_many(self, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
        """As `insert`, for rows that are written all or none."""
        if rows:
            await self._submit(_Operation(asyncio.get_running_loop().create_future(), statement, rows))

    async def run(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in a transaction and give its result once that is committed.

        `fn` runs in the writer's thread, together with others of its group. It may run twice (a group is replayed
        when one of its members fails), so it keeps nothing of its own; it gives a refusal as its result rather
        than raise it, since raising rolls the whole group back. A caller that is cancelled stops waiting; its
        operation is done all the same.
        """
        result: T = await self._submit(_Operation(asyncio.get_running_loop().create_future(), fn=fn))
        return result

    async def close(self) -> None:
        """Commit what is queued, then close the connection. Later writes are refused."""
        if self._closed:
            return
        self._closed = True
        while self._draining is not None:
            await asyncio.shield(self._draining)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    async def _submit(self, operation: _Operation) -> Any:
        if self._closed:
            raise StorageError("the gateway is stopping: nothing is written any more")
        self._queue.append(operation)
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain())
        return await operation.future

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                group = [self._queue.popleft() for _ in range(min(MAX_GROUP, len(self._queue)))]
                outcomes = await loop.run_in_executor(self._thread, self._commit, group)
                for operation, (result, error) in zip(group, outcomes, strict=True):
                    if operation.future.done():  # its caller went away
                        continue
                    if error is None:
                        operation.future.set_result(result)
                    else:
                        operation.future.set_exception(error)
        finally:
            self._draining = None

    def _commit(self, group: Sequence[_Operation]) -> list[tuple[Any, BaseException | None]]:
        """Commit the group, or each of its members alone; never raises."""
        try:
            return [(result, None) for result in self._transact(group)]
        except Exception as error:  # noqa: BLE001 - every failure belongs to the callers, whatever it is
            if len(group) == 1 or isinstance(error, _Refused):
                return [(None, self._meant(error))] * len(group)
        return [self._commit((operation,))[0] for operation in group]

    def _transact(self, group: Sequence[_Operation]) -> list[Any]:
        transaction = self._begin()
        try:
            assert self._connection is not None
            batches: dict[Executable, list[Mapping[str, Any]]] = {}
            for operation in group:
                if operation.statement is not None:
                    batches.setdefault(operation.statement, []).extend(operation.rows)
            for statement, rows in batches.items():
                self._connection.execute(statement, rows)
            results = [None if operation.fn is None else operation.fn(self._connection) for operation in group]
            transaction.commit()
        except BaseException:
            transaction.rollback()
            raise
        return results

    def _begin(self) -> RootTransaction:
        try:
            if self._connection is None:
                self._connect()
            assert self._connection is not None
            return self._connection.begin()
        except Exception as error:
            # A connection that cannot begin is not trusted again: the next group takes a new one.
            self._disconnect()
            raise _Refused from error

    def _meant(self, error: BaseException) -> BaseException:
        cause = error.__cause__ if isinstance(error, _Refused) and error.__cause__ else error
        meant = translate(cause, self._place)
        if meant is not cause:
            meant.__cause__ = cause
        return meant

    def _connect(self) -> None:
        self._connection = self._engine.connect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

"""The writer: group commit. All operations queued during one commit form the next transaction.

A group is one transaction: one executemany per kind of statement, one call per kind of gathered rows, then the
functions in order. A group that fails is rolled back and its operations are replayed one by one, each in its own
transaction, so that only the wrong one fails. (A savepoint per operation was measured seven times slower.) A caller
gets its answer after the commit of its rows.

On PostgreSQL two servers may deadlock, and the connection may break. A group that was aborted to end a deadlock, or
whose connection broke, is repeated as a whole. If the connection broke during COMMIT, the mark that every group writes
tells whether it was committed. (The transaction's id would not: after a crash it may be reused.)

A group of only `lazy` operations is committed without waiting for the disk; the wait takes as long as the rest of a
batch of deletions. If the machine fails, the last lazy groups may be lost, always the later ones first. The next group
that is not lazy makes the earlier ones durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Engine, Executable, RootTransaction, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.exc import DBAPIError, OperationalError

from gateway.settings.logs import get_logger
from storage.db.notices import Topic, notify, payloads, take_notices
from storage.db.operation import Operation, Write
from storage.db.patience import Patience
from storage.db.tally import Tally, take_counts
from storage.errors import StorageError, StorageGone, replaced, translate

T = TypeVar("T")
R = TypeVar("R")
_Outcome: TypeAlias = tuple[Any, BaseException | None]

log = get_logger("voxgate.storage")

MAX_GROUP = 512
TRIES = 5
"""Attempts of a group; after that many deadlocks or broken connections the group itself counts as the cause."""

_NOW = "CAST(EXTRACT(EPOCH FROM now()) * 1000 AS bigint)"
_FORGET_AFTER_MS = 7 * 86_400_000
_LAST_WORDS = text(
    f"WITH marked AS (INSERT INTO writer_marks (writer, mark, at_ms) VALUES (:writer, :mark, {_NOW}) "  # noqa: S608
    "ON CONFLICT (writer) DO UPDATE SET mark = excluded.mark, at_ms = excluded.at_ms) "
    "SELECT COUNT(pg_notify(n.channel, n.payload)) FROM unnest(:channels, :payloads) AS n (channel, payload)"
).bindparams(bindparam("channels", type_=ARRAY(TEXT)), bindparam("payloads", type_=ARRAY(TEXT)))
"""The last statement before COMMIT: writes the group's mark and sends the notices."""
_WHAT_BECAME = text(
    f"INSERT INTO writer_marks (writer, mark, at_ms) VALUES (:writer, 0, {_NOW}) "  # noqa: S608 - a constant
    "ON CONFLICT (writer) DO UPDATE SET at_ms = excluded.at_ms RETURNING mark"
)
"""Read the last committed mark. Waits for a transaction that still holds the row, since it may be about to commit."""
_FORGET = text(
    f"DELETE FROM writer_marks WHERE writer = :writer OR at_ms < {_NOW} - {_FORGET_AFTER_MS}"  # noqa: S608 - constants
)
"""Delete this writer's mark at its end, and old marks of killed servers."""
_LAZILY = "SET LOCAL synchronous_commit = off"
_SYNCHRONOUS = {True: "PRAGMA synchronous = NORMAL", False: "PRAGMA synchronous = FULL"}
"""The setting of SQLite for a group that is lazy (True) or not."""
_MAKE_DURABLE = text(
    "INSERT INTO marks (name, value) VALUES ('durable', 1) ON CONFLICT (name) DO UPDATE SET value = marks.value + 1"
)
"""A change, since SQLite waits for the disk only if a commit contains one."""
_DEADLOCKS = ("40P01", "40001")
_LOCK_TIMEOUT = "55P03"
_LOST = ("08", "25P03", "57P")
"""SQLSTATEs of a lost or refused connection."""


class _Refused(Exception):
    """Raised if a group was not tried, or another try would only wait again. Its `__cause__` is the reason."""


class Writer:
    """Runs all writes of a process: one connection, one thread, one transaction at a time.

    Args:
        patience_s: how long a write waits for PostgreSQL to come back before it fails.
        tally: gets the counts that transactions have noted, after their commit.
    """

    def __init__(self, engine: Engine, place: str, patience_s: float, tally: Tally) -> None:
        self._tally = tally
        self._engine = engine
        self._place = place
        self._shared = engine.dialect.name == "postgresql"
        self._patience = Patience(patience_s)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="voxgate-writer")
        self._connection: Connection | None = None
        self._queue: deque[Operation] = deque()
        self._draining: asyncio.Task[None] | None = None
        self._closed = False
        self._committed: Callable[[], None] = lambda: None
        self._lazy = False
        """Whether SQLite's connection now commits without waiting for the disk."""
        self._undurable = False
        """Whether the last commit may not be on the disk."""
        self._name = uuid.uuid4().hex
        self._mark = 0
        self._file: tuple[int, int] | None = None
        """Device and inode of the SQLite file."""
        self.process_id: int | None = None
        """The PostgreSQL process of this writer's connection; its notices are this server's own."""

    async def open(self) -> None:
        """Connect to the database."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connect)

    def when_committed(self, told: Callable[[], None]) -> None:
        """Call `told` after each group, on the event loop."""
        self._committed = told

    async def between(self, fn: Callable[[Any], T]) -> T | None:
        """Run `fn` with the driver's connection between two transactions; returns None without a connection."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._with_driver, fn)

    def check_file(self) -> None:
        """Check that the open SQLite file still has its name: it may have been replaced or removed.

        Raises:
            StorageGone: further writes would be lost.
        """
        if self._file is not None and self._file != _identity(self._place):
            raise replaced(self._place)

    async def insert(self, statement: Executable, params: Mapping[str, Any], topic: Topic | None = None) -> None:
        """Execute `statement` with one row; rows of the same statement object share one executemany.

        Args:
            topic: the topic to notify other servers of when the row is committed.

        Raises:
            StorageError: the database is full, read-only, locked or away.
            IntegrityError: this row breaks a constraint.
        """
        future = asyncio.get_running_loop().create_future()
        await self._submit(Operation(future, statement, (params,), topic=topic))

    async def insert_many(self, statement: Executable, rows: Sequence[Mapping[str, Any]]) -> None:
        """As `insert`, for several rows; all of them are written, or none."""
        if rows:
            await self._submit(Operation(asyncio.get_running_loop().create_future(), statement, rows))

    async def gather(
        self, write: Callable[[Connection, Sequence[R]], None], row: R, then: Callable[[], None] | None = None
    ) -> None:
        """As `insert`, by a function that is called once per group with all rows gathered for it, and once per row when
        one of the group fails. `then` is called after the commit, even if the caller was cancelled."""
        await self._submit(Operation(asyncio.get_running_loop().create_future(), write, (row,), then=then))

    async def run(self, fn: Callable[[Connection], T], *, lazy: bool = False) -> T:
        """Run `fn` in a transaction and return its result after the commit.

        `fn` runs in the writer's thread, in one transaction with the rest of its group. It may run twice (a group is
        replayed when one of its operations fails), so it must not keep state. It returns a refusal instead of raising
        it, since an exception rolls the whole group back. If the caller is cancelled, the operation still runs.

        Args:
            lazy: the result may be lost if the machine fails before the next commit of an operation that is not lazy.
        """
        result: T = await self._submit(Operation(asyncio.get_running_loop().create_future(), fn=fn, lazy=lazy))
        return result

    async def close(self) -> None:
        """Commit the queued operations, then close the connection. Later writes are refused."""
        if self._closed:
            return
        self._closed = True
        while self._draining is not None:
            await asyncio.shield(self._draining)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._forget_mark)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    async def _submit(self, operation: Operation) -> Any:
        if self._closed:
            raise StorageError("the gateway is stopping: it takes no more writes")
        self._queue.append(operation)
        if self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain())
        return await operation.future

    async def _drain(self) -> None:
        try:
            while self._queue:
                group = [self._queue.popleft() for _ in range(min(MAX_GROUP, len(self._queue)))]
                for operation, (result, error) in zip(group, await self._outcomes(group), strict=True):
                    operation.answer(result, error)
                self._committed()
        finally:
            self._draining = None

    async def _outcomes(self, group: Sequence[Operation]) -> list[_Outcome]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, group)
        except Exception as error:  # otherwise these callers and all later ones would wait for ever
            log.exception("commit_crashed", writes=len(group))
            return [(None, error)] * len(group)

    def _commit(self, group: Sequence[Operation]) -> list[_Outcome]:
        """Commit the group, or, if that fails, each operation alone; returns a result or an error for each."""
        for tries in range(TRIES, 0, -1):
            try:
                return [(result, None) for result in self._transact(group)]
            except Exception as error:  # noqa: BLE001 - every error is returned to the callers
                failure = error
            if not (tries > 1 and self._should_retry(failure)):
                break
        if len(group) == 1 or isinstance(failure, _Refused) or _state_of(failure) == _LOCK_TIMEOUT:
            return [(None, self._meant(failure))] * len(group)
        return [self._commit((operation,))[0] for operation in group]

    def _transact(self, group: Sequence[Operation]) -> list[Any]:
        transaction = self._begin(lazy := all(operation.lazy for operation in group))
        assert self._connection is not None
        try:
            take_notices(self._connection)
            take_counts(self._connection)
            batches: dict[Executable | Write, list[Any]] = {}
            for operation in group:
                if operation.topic is not None:
                    notify(self._connection, operation.topic)
                if operation.statement is not None:
                    batches.setdefault(operation.statement, []).extend(operation.rows)
            for statement, rows in batches.items():
                if isinstance(statement, Executable):
                    self._connection.execute(statement, rows)
                else:
                    statement(self._connection, rows)
            results = [None if operation.fn is None else operation.fn(self._connection) for operation in group]
            noted = take_counts(self._connection)
            self._leave_mark(self._connection)
            if self._undurable and not lazy:
                self._connection.execute(_MAKE_DURABLE)
        except BaseException:
            transaction.rollback()
            raise
        try:
            transaction.commit()
        except Exception as error:
            transaction.rollback()
            if not (self._shared and _is_lost(error) and self._has_committed()):
                raise
        self._undurable = lazy and not self._shared
        self._patience.renew()
        self._tally.add(noted)
        return results

    def _begin(self, lazy: bool) -> RootTransaction:
        try:
            if self._connection is None:
                self._connect()
            assert self._connection is not None
            self.check_file()
            if not self._shared and lazy != self._lazy:
                self._with_driver(lambda driver: driver.execute(_SYNCHRONOUS[lazy]))
                self._lazy = lazy
            transaction = self._connection.begin()
            if self._shared and lazy:
                self._connection.exec_driver_sql(_LAZILY)
            return transaction
        except StorageGone as error:
            raise _Refused from error  # the connection is kept: it is the only access to that file
        except Exception as error:
            # A connection that cannot begin is not used again: the next group makes a new one.
            self._disconnect()
            raise _Refused from error

    # -- PostgreSQL

    def _leave_mark(self, connection: Connection) -> None:
        """Write the group's mark, and send the notices with the commit."""
        notices = take_notices(connection)
        if not self._shared:
            return
        self._mark += 1
        messages = payloads(notices)
        words = {"channels": [m[0] for m in messages], "payloads": [m[1] for m in messages]}
        connection.execute(_LAST_WORDS, words | {"mark": self._mark, "writer": self._name})

    def _has_committed(self) -> bool:
        """Return whether a group was committed whose connection broke during COMMIT.

        Raises:
            _Refused: the database stays away, so that it cannot be known.
        """
        while True:
            try:
                self._reconnect()
                assert self._connection is not None
                with self._connection.begin():
                    mark = int(self._connection.execute(_WHAT_BECAME, {"writer": self._name}).scalar_one())
            except DBAPIError as error:
                if _state_of(error) != _LOCK_TIMEOUT and not _is_lost(error):
                    raise
                if not self._patience.wait():
                    raise _Refused from error
            else:
                return mark == self._mark

    def _forget_mark(self) -> None:
        if self._shared and self._mark and self._connection is not None:
            with contextlib.suppress(DBAPIError), self._connection.begin():
                self._connection.execute(_FORGET, {"writer": self._name})

    def _should_retry(self, error: Exception) -> bool:
        if _state_of(error) in _DEADLOCKS:
            time.sleep(random.uniform(0, 0.02))  # a random pause, so that the two sides do not collide again
            return True
        if not self._shared or not _is_lost(error.__cause__ if isinstance(error, _Refused) else error):
            return False
        try:
            self._reconnect()
        except _Refused:
            return False
        return True

    def _reconnect(self) -> None:
        """Reconnect; retry until the patience runs out.

        Raises:
            _Refused: PostgreSQL did not come back in time.
        """
        self._disconnect()
        while True:
            try:
                self._connect()
                return
            except DBAPIError as error:
                if not self._patience.wait():
                    raise _Refused from error

    # -- the connection

    def _meant(self, error: BaseException) -> BaseException:
        cause = error.__cause__ if isinstance(error, _Refused) and error.__cause__ else error
        meant = translate(cause, self._place)
        if meant is not cause:
            meant.__cause__ = cause
        return meant

    def _connect(self) -> None:
        self._connection = self._engine.connect()
        self._lazy = False
        if self._shared:
            driver: Any = self._connection.connection.driver_connection
            self.process_id = driver.info.backend_pid
        elif self._file is None:
            self._file = _identity(self._place)

    def _with_driver(self, fn: Callable[[Any], T]) -> T | None:
        return None if self._connection is None else fn(self._connection.connection.driver_connection)

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            if self._shared:
                connection.invalidate()  # not returned to the pool: it may be broken
            connection.close()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - before every transaction, where a Path would cost more than the call
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _state_of(error: BaseException) -> str | None:
    """Return PostgreSQL's SQLSTATE of an error, or None."""
    return getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None


def _is_lost(error: BaseException | None) -> bool:
    """Return whether the connection has failed, not the statement."""
    if not isinstance(error, DBAPIError):
        return False
    state = _state_of(error)
    if state is None:
        return error.connection_invalidated or isinstance(error, OperationalError)
    return error.connection_invalidated or state.startswith(_LOST)

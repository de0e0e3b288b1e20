"""The database of one process: one writer connection, a few asynchronous readers, one for point reads.

Functions given to `read`, `peek` and `Writer.run` are plain functions of a SQLAlchemy `Connection`, the same for
SQLite and PostgreSQL. Readers are SQLAlchemy's asynchronous engine over aiosqlite (psycopg for PostgreSQL). The two
hot paths go around it, since every statement of aiosqlite is a hop or two between threads: one insert and one point
read took 1.2 ms of CPU through it and 0.4 ms this way (two busy cores, 2026-11-22). The writer runs whole groups in
a thread of its own; `peek` reads a short row right where it is asked for.

PostgreSQL may go away and come back: whoever reads or writes meanwhile waits up to `PATIENCE_S`, and a restart that is
over by then fails nobody. Nor does anything wait for ever: connecting, locks and dead peers have their limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, QueuePool

from gateway.errors import SettingsError
from storage.db.checkpoints import LOG_BYTES, LOG_PAGES, Checkpointer
from storage.db.listener import Heard, Listener
from storage.db.notices import Topic
from storage.db.patience import Patience
from storage.db.tally import Tally
from storage.db.writer import Writer
from storage.errors import StorageError, StorageUnavailable, reason_of, translate

T = TypeVar("T")

_AGAIN_S = 0.1
BUSY_TIMEOUT_MS = 5_000
PATIENCE_S = 5.0
"""Seconds that reads and writes wait for a PostgreSQL that does not answer, from the first that found it so."""
READERS = 4
_READER_CACHE_KB = 500
"""SQLite's pages in the memory of each connection that reads; the system has them in its own, too."""
_WRITER_CACHE_KB = 16_000
"""Of the connection that writes: deleting some hundred rows touches thousands of pages, each of them once."""
LONGEST_TRANSACTION_S = 15
"""PostgreSQL hangs up on a server that stands still in a transaction for longer: it may hold others' rows."""
_NOW = text("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint)")
_DATA_VERSION = {
    "sqlite": text("PRAGMA data_version"),
    # The next transaction id: moves with every transaction that writes, on any connection.
    "postgresql": text("SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"),
}


def parse_url(url: str) -> URL:
    """The SQLAlchemy URL with our driver in it.

    Raises:
        SettingsError: not a URL, neither SQLite nor PostgreSQL, or SQLite without a file.
    """
    try:
        parsed = make_url(url)
        name = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:  # of a port that is no number, the last
        raise SettingsError(
            "VOXGATE_DATABASE__URL is not a database URL: write sqlite:////path/to/file or postgresql://user@host/name"
        ) from error
    if name == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise SettingsError("VOXGATE_DATABASE__URL names no file: write sqlite:////path/to/file")
        return parsed.set(drivername="sqlite")
    if name == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise SettingsError(f"VOXGATE_DATABASE__URL names {name}: use sqlite or postgresql")


def place_of(url: URL) -> str:
    """How to name the database in a message: its path, or its URL without the password."""
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def make_engine(url: URL, *, write: bool, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Engine:
    """A synchronous engine whose transactions are `BEGIN IMMEDIATE` (write) or single statements (read).

    SQLite's driver begins transactions late and by itself unless its isolation_level is None, and a deferred
    transaction that turns to writing fails at once when another process writes, whatever the timeout.
    """
    if url.get_backend_name() != "sqlite":
        arguments = libpq_parameters(url, write=write, lock_timeout_ms=busy_timeout_ms)
        engine = create_engine(
            url, poolclass=NullPool, connect_args=arguments, isolation_level=None if write else "AUTOCOMMIT"
        )
        _adapt(engine)
        return engine

    engine = create_engine(
        url,
        poolclass=NullPool if write else QueuePool,
        connect_args={"check_same_thread": False, "timeout": busy_timeout_ms / 1000},
        pool_reset_on_return=None,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        if write:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.execute("PRAGMA secure_delete = FAST")
            cursor.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
            cursor.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            cursor.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KB}")
        else:
            cursor.execute("PRAGMA query_only = ON")
            cursor.execute(f"PRAGMA cache_size = -{_READER_CACHE_KB}")
        cursor.close()

    if write:

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def libpq_parameters(url: URL, *, write: bool, lock_timeout_ms: int = BUSY_TIMEOUT_MS) -> dict[str, Any]:
    """What a connection to PostgreSQL is made with, but for what the URL says otherwise."""
    options = f"-c lock_timeout={lock_timeout_ms} -c idle_in_transaction_session_timeout={LONGEST_TRANSACTION_S}s"
    if not write:
        options += " -c default_transaction_read_only=on"
    given = dict(url.query)
    ours: dict[str, Any] = {
        "application_name": "voxgate",
        "connect_timeout": 5,
        # A machine that vanished is noticed in half a minute, not in two hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }
    return {name: value for name, value in ours.items() if name not in given} | {
        "options": f"{options} {given.get('options', '')}".rstrip()
    }


def _adapt(engine: Engine) -> None:
    """Let text with NUL in it through: PostgreSQL keeps none, and would refuse an error's message or an id for it."""
    from psycopg.types.string import StrDumper

    class WithoutNul(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        getattr(connection, "driver_connection", connection).adapters.register_dumper(str, WithoutNul)


def make_readers(url: URL, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> AsyncEngine:
    """The asynchronous engine of the readers: single statements, each with its own snapshot, and no writing."""
    if url.get_backend_name() != "sqlite":
        arguments = libpq_parameters(url, write=False, lock_timeout_ms=busy_timeout_ms)
        readers = create_async_engine(
            url, pool_size=READERS, pool_use_lifo=True, connect_args=arguments, isolation_level="AUTOCOMMIT"
        )
        _adapt(readers.sync_engine)
        return readers
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=READERS,
        connect_args={"timeout": busy_timeout_ms / 1000},
        pool_reset_on_return=None,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only = ON")
        cursor.execute(f"PRAGMA cache_size = -{_READER_CACHE_KB}")
        cursor.close()

    return engine


class Database:
    """Open it with `Database.open`, close it with `close`."""

    def __init__(self, url: URL, busy_timeout_ms: int, patience_s: float) -> None:
        self.dialect: Literal["sqlite", "postgresql"] = "sqlite" if url.get_backend_name() == "sqlite" else "postgresql"
        self.place = place_of(url)
        self._url = url
        self._write_engine = make_engine(url, write=True, busy_timeout_ms=busy_timeout_ms)
        self._read_engine = make_readers(url, busy_timeout_ms)
        self._peek_engine = make_engine(url, write=False, busy_timeout_ms=0) if self.dialect == "sqlite" else None
        self._peeker: Connection | None = None
        self._unknown = 0
        self._patience = Patience(patience_s)
        self._listener: Listener | None = None
        self.tally = Tally()
        self.writer = Writer(self._write_engine, self.place, patience_s, self.tally)
        self._checkpointer = Checkpointer(Path(self.place), self.writer) if self.dialect == "sqlite" else None

    @classmethod
    async def open(
        cls, url: str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS, patience_s: float = PATIENCE_S
    ) -> Database:
        """Connect, and fail now if that cannot work. Makes no tables: see `storage.db.migrate`.

        Args:
            url: `sqlite:////path/to/file` or `postgresql://user:password@host/name`.
            busy_timeout_ms: how long a write waits for another process's transaction.
            patience_s: how long reads and writes wait for a PostgreSQL that has gone away, once it was there.

        Raises:
            SettingsError: the URL is wrong.
            StorageReadOnly, StorageLocked, StorageUnavailable: the database cannot be opened.
        """
        database = cls(parse_url(url), busy_timeout_ms, patience_s)
        try:
            await database.writer.open()
            await database.data_version()
            if database._peek_engine is not None:
                database._peeker = database._peek_engine.connect()
        except Exception as error:
            await database.close()
            meant = translate(error, database.place)
            if meant is error:
                raise
            raise meant from error
        return database

    def listen(self, heard: Mapping[Topic, Heard]) -> None:
        """From now on hear what other servers tell (PostgreSQL only); call it once.

        Args:
            heard: what to call, on the event loop, when a topic's rows have changed.
        """
        if self.dialect == "postgresql":
            parameters = libpq_parameters(self._url, write=False)
            self._listener = Listener(self._url, parameters, heard, lambda pid: pid == self.writer.process_id)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` on a reading connection; each of its statements sees its own snapshot. It may run twice.

        Raises:
            StorageError: what the database could not do.
        """
        failed_before = False
        while True:
            try:
                async with self._read_engine.connect() as connection:
                    result = await connection.run_sync(fn)
            except (DBAPIError, PoolTimeout) as error:
                meant = translate(error, self.place)
                # The first failure may only say that the server has restarted since this connection was used.
                if isinstance(meant, StorageUnavailable) and self._patience.left():
                    if failed_before:
                        await asyncio.sleep(_AGAIN_S)
                    failed_before = True
                    continue
                if meant is error:
                    raise
                raise meant from error
            self._patience.renew()
            return result

    async def peek(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn`, a point read of a short row, right on the event loop where the database is SQLite.

        That takes some 40 microseconds, a third of the hop to a thread. In WAL mode readers wait for nobody; in
        the rare case that they would (recovery after a crash), the readers do the waiting.
        """
        found = self._peek(fn)
        return await self.read(fn) if found is None else found[0]

    def _peek(self, fn: Callable[[Connection], T]) -> tuple[T] | None:
        """What `fn` gives on the connection of the point reads; None where there is none, or it would have to wait."""
        if self._peeker is None:
            return None
        try:
            return (fn(self._peeker),)
        except DBAPIError:
            return None  # busy, or worse: `read` waits, or says what is wrong
        finally:
            self._peeker.rollback()

    async def calm(self) -> None:
        """Wait until the database is ready for work that has no haste: see `Checkpointer.calm`."""
        if self._checkpointer is not None:
            await self._checkpointer.calm()

    async def answers(self) -> None:
        """Nothing, if the database answers now.

        Raises:
            StorageError: it does not; nobody waits for it here.
        """
        self.writer.check_file()
        try:
            async with self._read_engine.connect() as connection:
                await connection.scalar(_DATA_VERSION[self.dialect])
        except (DBAPIError, PoolTimeout) as error:
            meant = translate(error, self.place)
            raise (StorageError(f"{self.place}: {reason_of(error)}") if meant is error else meant) from error

    async def now_ms(self) -> int | None:
        """What the clock of PostgreSQL says, in UTC milliseconds; None for SQLite, whose clock is the machine's."""
        if self.dialect == "sqlite":
            return None
        return await self.read(lambda connection: int(connection.execute(_NOW).scalar_one()))

    async def data_version(self) -> int:
        """A number that changes whenever any connection, of any process, has committed; for polling."""

        def version(connection: Connection) -> int:
            return int(connection.execute(_DATA_VERSION[self.dialect]).scalar_one())

        # SQLite counts the commits of *other* connections, each connection for itself: this one never writes.
        if (found := self._peek(version)) is not None:
            return found[0]
        seen = await self.read(version)
        if self.dialect == "sqlite":
            self._unknown -= 1
            return self._unknown  # another connection's number says nothing: a new one says "look"
        return seen

    async def close(self) -> None:
        """Finish what is queued for the writer and close every connection."""
        if self._listener is not None:
            await self._listener.close()
        if self._checkpointer is not None:
            await self._checkpointer.close()
        await self.writer.close()
        await self._read_engine.dispose()
        if self._peeker is not None:
            self._peeker.close()
        self._peeker = None
        for engine in (self._write_engine, self._peek_engine):
            if engine is not None:
                engine.dispose()

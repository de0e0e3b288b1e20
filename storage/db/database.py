"""The database of one process: one writer connection, a few asynchronous readers, one connection for point reads.

PostgreSQL has no single writer, so there a second connection writes what may wait.

Functions given to `read`, `peek` and `Writer.run` are plain functions of a SQLAlchemy `Connection`, the same for
SQLite and PostgreSQL. Readers use SQLAlchemy's asynchronous engine over aiosqlite (psycopg for PostgreSQL). The two
hot paths bypass it, since each aiosqlite statement hops between threads once or twice: one insert and one point read
took 1.2 ms of CPU through it and 0.4 ms without (two busy cores, 2026-11-22). The writer runs whole groups in its own
thread; `peek` reads a short row in the calling thread.

While PostgreSQL is away, reads and writes wait up to `PATIENCE_S`; a restart that is over by then fails none of them.
Connecting, locks and dead peers have time limits, so that nothing waits for ever.
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
from storage.db.listener import Listener, NoticeHandler
from storage.db.notices import Topic
from storage.db.patience import Patience
from storage.db.tally import Tally
from storage.db.writer import Writer
from storage.errors import StorageError, StorageUnavailable, reason_of, translate

T = TypeVar("T")

_AGAIN_S = 0.1
BUSY_TIMEOUT_MS = 5_000
PATIENCE_S = 5.0
"""Seconds that reads and writes wait for a PostgreSQL that does not answer, counted from the first failure."""
READERS = 4
_READER_CACHE_KB = 500
"""Page cache of each reading SQLite connection; small, since the system caches the file too."""
_WRITER_CACHE_KB = 16_000
"""Page cache of the writing SQLite connection: deleting some hundred rows touches thousands of pages."""
LONGEST_TRANSACTION_S = 15
"""PostgreSQL disconnects a server that is idle in a transaction for longer, since it may hold locks on rows."""
_NOW = text("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint)")
_DATA_VERSION = {
    "sqlite": text("PRAGMA data_version"),
    # The next transaction id: changes with every transaction that writes, on any connection.
    "postgresql": text("SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"),
}


def parse_url(url: str) -> URL:
    """Parse a database URL and set the driver that voxgate uses.

    Raises:
        SettingsError: not a URL, neither SQLite nor PostgreSQL, or SQLite without a file.
    """
    try:
        parsed = make_url(url)
        name = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:  # ValueError: the port is not a number
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
    """Return the database's name for messages: its path, or its URL without the password."""
    return str(url.database) if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def make_engine(url: URL, *, write: bool, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Engine:
    """Make a synchronous engine whose transactions are `BEGIN IMMEDIATE` (write) or single statements (read).

    SQLite's driver begins transactions implicitly and late unless its isolation_level is None. A deferred transaction
    that starts to write fails at once while another process writes, whatever the timeout.
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
    """Return libpq parameters for a PostgreSQL connection; parameters in the URL override them."""
    options = f"-c lock_timeout={lock_timeout_ms} -c idle_in_transaction_session_timeout={LONGEST_TRANSACTION_S}s"
    if not write:
        options += " -c default_transaction_read_only=on"
    given = dict(url.query)
    ours: dict[str, Any] = {
        "application_name": "voxgate",
        "connect_timeout": 5,
        # Detects a vanished machine in half a minute instead of two hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }
    return {name: value for name, value in ours.items() if name not in given} | {
        "options": f"{options} {given.get('options', '')}".rstrip()
    }


def _adapt(engine: Engine) -> None:
    """Replace NUL in text by U+FFFD: PostgreSQL refuses NUL, which may occur in an error message or an id."""
    from psycopg.types.string import StrDumper

    class WithoutNul(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        getattr(connection, "driver_connection", connection).adapters.register_dumper(str, WithoutNul)


def make_readers(url: URL, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> AsyncEngine:
    """Make the readers' asynchronous engine: read-only, single statements, each with its own snapshot."""
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
    """The connections to one database, which `connect` opens and `close` closes.

    Args:
        address: `sqlite:////path/to/file` or `postgresql://user:password@host/name`.
        busy_timeout_ms: how long a write waits for another process's transaction.
        patience_s: how long reads and writes wait for a PostgreSQL that goes away after `connect`.

    Raises:
        SettingsError: the address is wrong.
    """

    def __init__(
        self, address: str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS, patience_s: float = PATIENCE_S
    ) -> None:
        url = parse_url(address)
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
        self.background = self.writer
        """Writes what may wait. PostgreSQL has no single writer: there it has a connection of its own."""
        if self.dialect == "postgresql":
            self.background = Writer(self._write_engine, self.place, patience_s, self.tally)
        self._checkpointer = Checkpointer(Path(self.place), self.writer) if self.dialect == "sqlite" else None

    @classmethod
    async def open(cls, address: str, **waits: Any) -> Database:
        """Make a database and connect to it."""
        database = cls(address, **waits)
        await database.connect()
        return database

    async def connect(self) -> None:
        """Connect, and fail at once if that is not possible. Makes no tables: see `storage.db.migrate`.

        Raises:
            StorageReadOnly, StorageLocked, StorageUnavailable: the database cannot be opened; all is closed again.
        """
        try:
            await self.writer.open()
            await self.data_version()
            if self._peek_engine is not None:
                self._peeker = self._peek_engine.connect()
        except Exception as error:
            await self.close()
            meant = translate(error, self.place)
            if meant is error:
                raise
            raise meant from error

    def listen(self, handlers: Mapping[Topic, NoticeHandler]) -> None:
        """Start to receive the notices of other servers (PostgreSQL only); call it once.

        Args:
            handlers: the handler of each topic, called on the event loop when the topic's rows have changed.
        """
        if self.dialect == "postgresql":
            parameters = libpq_parameters(self._url, write=False)
            self._listener = Listener(self._url, parameters, handlers, self._is_own)

    def _is_own(self, process_id: int) -> bool:
        return process_id in (self.writer.process_id, self.background.process_id)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` on a reading connection; each statement sees its own snapshot. `fn` may run twice.

        Raises:
            StorageError: the database failed; says why.
        """
        failed_before = False
        while True:
            try:
                async with self._read_engine.connect() as connection:
                    result = await connection.run_sync(fn)
            except (DBAPIError, PoolTimeout) as error:
                meant = translate(error, self.place)
                # The first failure may only mean that the server restarted after this connection was last used.
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
        """Run `fn`, a point read of a short row; on SQLite directly on the event loop.

        That takes about 40 microseconds, a third of a hop to a thread. In WAL mode readers do not wait; in the rare
        case that they must (recovery after a crash), `fn` runs through `read`.
        """
        found = self._peek(fn)
        return await self.read(fn) if found is None else found[0]

    def _peek(self, fn: Callable[[Connection], T]) -> tuple[T] | None:
        """Run `fn` on the point-read connection; None if there is no such connection or it would have to wait."""
        if self._peeker is None:
            return None
        try:
            return (fn(self._peeker),)
        except DBAPIError:
            return None  # busy or broken: `read` waits, or raises the error
        finally:
            self._peeker.rollback()

    async def calm(self) -> None:
        """Wait until the database is ready for background writes: see `Checkpointer.calm`."""
        if self._checkpointer is not None:
            await self._checkpointer.calm()

    async def answers(self) -> None:
        """Check that the database answers now, without waiting for it to come back.

        Raises:
            StorageError: the database does not answer.
        """
        self.writer.check_file()
        try:
            async with self._read_engine.connect() as connection:
                await connection.scalar(_DATA_VERSION[self.dialect])
        except (DBAPIError, PoolTimeout) as error:
            meant = translate(error, self.place)
            raise (StorageError(f"{self.place}: {reason_of(error)}") if meant is error else meant) from error

    async def now_ms(self) -> int | None:
        """Return PostgreSQL's time in UTC milliseconds; None for SQLite, whose clock is the machine's."""
        if self.dialect == "sqlite":
            return None
        return await self.read(lambda connection: int(connection.execute(_NOW).scalar_one()))

    async def data_version(self) -> int:
        """Return a number that changes with every commit of any connection of any process; for polling."""

        def version(connection: Connection) -> int:
            return int(connection.execute(_DATA_VERSION[self.dialect]).scalar_one())

        # In SQLite each connection counts the commits of *other* connections; this connection never writes.
        if (found := self._peek(version)) is not None:
            return found[0]
        seen = await self.read(version)
        if self.dialect == "sqlite":
            self._unknown -= 1
            return self._unknown  # the numbers of two connections cannot be compared: a new number means "changed"
        return seen

    async def close(self) -> None:
        """Commit the writes that are queued and close every connection."""
        if self._listener is not None:
            await self._listener.close()
        if self._checkpointer is not None:
            await self._checkpointer.close()
        await self.background.close()
        await self.writer.close()
        await self._read_engine.dispose()
        if self._peeker is not None:
            self._peeker.close()
        self._peeker = None
        for engine in (self._write_engine, self._peek_engine):
            if engine is not None:
                engine.dispose()

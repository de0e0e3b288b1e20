"""Checkpoints SQLite's write-ahead log into the database file, beside the writer.

By default SQLite checkpoints within a commit, whenever the log has a thousand pages: a submit would then wait until all
of them are on the disk. Here a separate thread and connection do it, which blocks neither readers nor the writer. The
log restarts only when all of it is checkpointed, which never happens while writes go on: so the last few pages are
checkpointed between two transactions of the writer.

Servers that share a file all do this; of two at the same time, the second gives up, without harm. Pages that a killed
server left in the log are read from there by the next one. If all this is not enough, the log grows to `LOG_PAGES`, and
SQLite checkpoints within a commit.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec

from gateway.settings.logs import get_logger
from storage.db.writer import Writer

log = get_logger("voxgate.storage")

LOG_PAGES = 65_536
"""Pages of 4 KB in the log above which SQLite checkpoints within a commit."""
LOG_BYTES = 64_000_000
"""The size to which the log file is cut when it restarts."""
COMMITS = 50
"""Commits between two passes. A commit of a submit writes about ten pages, one of an eviction some hundreds."""
_LONG = 8_000
"""Pages above which the log should restart."""
_FEW = 500
"""Pages that the writer can checkpoint between two transactions without a noticeable delay."""
_PASSES = 4


class Moved(msgspec.Struct, frozen=True):
    """The result of a pass: the pages in the log, and the number of them that are also in the database file."""

    pages: int
    moved: int


class Checkpointer:
    """Checkpoints the log of one SQLite file after every `commits` commits of this process, until `close`."""

    def __init__(self, path: Path, writer: Writer, commits: int = COMMITS) -> None:
        self._path = path
        self._writer = writer
        self._every = commits
        self._commits = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="voxgate-checkpoints")
        self._connection: sqlite3.Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._calm = asyncio.Event()
        self._calm.set()
        self._closed = False
        writer.when_committed(self._count)

    async def calm(self) -> None:
        """Wait while the log is long and about to restart; call it before large background writes."""
        await self._calm.wait()

    async def close(self) -> None:
        """Finish the running pass and close the connection. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._task is not None:
            await self._task
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False)

    def _count(self) -> None:
        self._commits += 1
        if self._commits >= self._every and self._task is None and not self._closed:
            self._commits = 0
            self._task = asyncio.get_running_loop().create_task(self._run(), name="checkpoint")

    async def _run(self) -> None:
        try:
            await self._shorten()
        except sqlite3.Error as error:  # a full or broken disk: the next commit that fails reports it
            log.warning("checkpoint_failed", reason=str(error))
        finally:
            self._calm.set()
            self._task = None

    async def _shorten(self) -> None:
        seen = await self._pass()
        for _ in range(_PASSES):
            if self._closed or seen.pages < _LONG:
                return
            if seen.pages - seen.moved <= _FEW:
                await self._writer.between(_checkpoint)
                return
            self._calm.clear()
            seen = await self._pass()

    async def _pass(self) -> Moved:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._move)

    def _move(self) -> Moved:
        if self._connection is None:
            # mode=rw does not create the file, which may have been moved away.
            self._connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=rw", uri=True, timeout=0, check_same_thread=False
            )
        return _checkpoint(self._connection)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _checkpoint(connection: sqlite3.Connection) -> Moved:
    """Checkpoint as many pages as possible without waiting for other connections."""
    with closing(connection.execute("PRAGMA wal_checkpoint(PASSIVE)")) as cursor:
        _, pages, moved = cursor.fetchone()
    return Moved(pages, moved)

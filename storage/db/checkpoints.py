"""Moves what SQLite's log holds into the database file, beside the writer.

SQLite would do that within a commit, whenever the log has a thousand pages: whoever submits a job then waits for all of
it to be on the disk. Here a thread and a connection of its own do it, which holds up neither readers nor the writer.
The log begins anew only when nothing of it is left to move, and while somebody writes there always is: the last few
pages are moved between two transactions of the writer.

Servers that share a file each do so; two at once do no harm, the second one leaves. What a killed server left in the
log is read from there by the next one. Where all of this does not help, the log grows to `LOG_PAGES`, and SQLite moves
it within a commit.
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
"""Pages of 4 KB in the log, from which on SQLite moves them within a commit."""
LOG_BYTES = 64_000_000
"""How large the file of the log stays when it begins anew."""
COMMITS = 50
"""Between two passes. A commit of a submit writes some ten pages, one of an eviction some hundreds."""
_LONG = 8_000
"""Pages of a log that should begin anew."""
_FEW = 500
"""Pages that the writer can move between two transactions without keeping anybody."""
_PASSES = 4


class Moved(msgspec.Struct, frozen=True):
    """What became of a pass: pages in the log, and how many of them are in the database file, too."""

    pages: int
    moved: int


class Checkpointer:
    """Moves the log of one SQLite file after every so many commits of this process; `close` ends that."""

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
        """Wait while the log is long and about to begin anew: whoever has much to write, and no haste, asks first."""
        await self._calm.wait()

    async def close(self) -> None:
        """Finish the pass that is under way, and close the connection. Closing twice does no harm."""
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
        except sqlite3.Error as error:  # a full or broken disk: the next commit that cannot be written says so
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
            # Never makes the file: it may have been moved away.
            self._connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=rw", uri=True, timeout=0, check_same_thread=False
            )
        return _checkpoint(self._connection)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _checkpoint(connection: sqlite3.Connection) -> Moved:
    """Move as much as can be moved without waiting for anybody."""
    with closing(connection.execute("PRAGMA wal_checkpoint(PASSIVE)")) as cursor:
        _, pages, moved = cursor.fetchone()
    return Moved(pages, moved)

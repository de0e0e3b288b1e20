"""Removes unused audio: blobs that no row refers to.

Blobs that may be unused are on a list, `blobs.loose_ms`: each put of a blob and each dropped reference adds it (see
`storage.db.models.BlobRow`), and a sweep reads the list, not the whole table. A reader checks the references of each: a
blob in use leaves the list, an unused one is removed after a grace period.

It is removed in three steps; each holds the writer for at most a batch:

1. Its row moves from `blobs` to `dying_blobs`, in a transaction that finds no reference. From then on the foreign keys
   prevent new references; a put of the same bytes makes a new row in `blobs`.
2. Its file moves to the trash. If a put has made a new row since, the file is restored; otherwise it is removed. A put
   that commits its row after this check calls `AudioStore.settle` later, which restores the file from its spool.
3. Its row in `dying_blobs` is deleted. A killed sweep leaves that row, and the next sweep, of any server, begins with
   step 2; two at the same time do no harm.

Files without a row, left by a kill between file and row, are removed in the same way. They are found by walking the
folders, a part in each sweep.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Connection, TextClause, bindparam, text

from gateway.clock import Clock, SystemClock
from storage.db.batches import Batches
from storage.db.database import Database
from storage.errors import BlobMissing
from storage.files.audio import AudioStore

_PAGE = 2_000
"""Blobs that a reader reads at once."""
_FILES = 250
"""Files that a thread moves, removes or lists in one call."""
_AT_ONCE = 3
"""Threads that do so at the same time."""
WALKED = 20_000
"""Files of the store that one sweep checks; the next sweep continues after them."""
_SPOOL_AGE_S = 86_400.0
"""The age at which a spool without a known owner is abandoned: longer than a job waits for a chunk."""
_LATEST_MS = 2**62

Rows: TypeAlias = Sequence[Any]


def _by_hash(statement: str) -> TextClause:
    return text(statement).bindparams(bindparam("hashes", expanding=True))


# One EXISTS over all tables: for several, PostgreSQL would hash the whole tables.
_REFERENCES = " UNION ALL ".join(
    f"SELECT 1 FROM {table} r WHERE r.blob_hash = b.hash"  # noqa: S608 - constants
    for table in ("takes", "cache_entries", "jobs", "samples", "voices")
)
_USED = f"EXISTS ({_REFERENCES})"
_LOOSE = text(
    f"SELECT b.hash, b.loose_ms, {_USED} FROM blobs b WHERE b.loose_ms IS NOT NULL "  # noqa: S608 - constants
    "AND (b.loose_ms, b.hash) > (:ms, :hash) AND b.loose_ms <= :last ORDER BY b.loose_ms, b.hash LIMIT :limit"
)
# On PostgreSQL: locks out transactions that drop a reference; rows they hold already are skipped.
_HOLD = _by_hash("SELECT hash FROM blobs WHERE hash IN :hashes ORDER BY hash FOR NO KEY UPDATE SKIP LOCKED")
# Also locks out transactions that make a reference.
_SEIZE = _by_hash("SELECT hash FROM blobs WHERE hash IN :hashes ORDER BY hash FOR UPDATE SKIP LOCKED")
_DATE = _by_hash("UPDATE blobs SET loose_ms = :now WHERE hash IN :hashes AND (loose_ms = 0 OR loose_ms > :now)")
_KEEP = _by_hash(f"UPDATE blobs AS b SET loose_ms = NULL WHERE b.hash IN :hashes AND {_USED}")  # noqa: S608 - constants
_TAKE = _by_hash(
    "DELETE FROM blobs AS b WHERE b.hash IN :hashes AND b.loose_ms > 0 AND b.loose_ms < :before "  # noqa: S608 - constants
    f"AND NOT {_USED} RETURNING hash, suffix, size_bytes"
)
_ADD_DYING = text(
    "INSERT INTO dying_blobs (hash, suffix, size_bytes) VALUES (:hash, :suffix, :size_bytes) "
    "ON CONFLICT (hash) DO NOTHING"
)
_DYING = text("SELECT hash, suffix FROM dying_blobs WHERE hash > :after ORDER BY hash LIMIT :limit")
_BURIED = _by_hash("DELETE FROM dying_blobs WHERE hash IN :hashes")
_KNOWN = _by_hash("SELECT hash FROM blobs WHERE hash IN :hashes")
_UNLISTED = f"FROM blobs b WHERE b.loose_ms IS NULL AND NOT {_USED}"
_UNLISTED_OF = _by_hash(f"SELECT b.hash {_UNLISTED} AND b.hash IN :hashes")
_COUNT_UNLISTED = text(f"SELECT COUNT(*), COALESCE(SUM(b.size_bytes), 0) {_UNLISTED}")
_LIST = _by_hash("UPDATE blobs SET loose_ms = 0 WHERE hash IN :hashes AND loose_ms IS NULL")
_ALL = text("SELECT hash, suffix FROM blobs WHERE hash > :after ORDER BY hash LIMIT :limit")


class Swept(msgspec.Struct, frozen=True):
    """The result of a sweep: removed blobs and their bytes, removed spools and files without a row, restored files."""

    blobs: int = 0
    size_bytes: int = 0
    spools: int = 0
    strays: int = 0
    restored: int = 0


class Unlisted(msgspec.Struct, frozen=True):
    """The number and bytes of unused blobs that are not on the list."""

    blobs: int
    size_bytes: int


class Sweeper:
    """Sweeps one audio store; several servers may sweep the same store."""

    def __init__(
        self,
        db: Database,
        audio: AudioStore,
        clock: Clock | None = None,
        grace_s: float = 3600.0,
        walked: int = WALKED,
    ) -> None:
        """
        Args:
            grace_s: how long unused audio stays; longer than any request takes from its look-up to its answer.
            walked: the number of files that a sweep checks for a missing row.
        """
        self._db = db
        self._audio = audio
        self._clock = clock or SystemClock()
        self._grace_s = grace_s
        self._walked = walked
        # A random start: a server that is restarted often must not walk the same part each time.
        self._folder = os.urandom(2).hex()

    async def sweep(self) -> Swept:
        """Finish a killed sweep, then remove unused blobs, abandoned spools and files without a row."""
        await self._audio.ensure()
        restored = await self.recover()
        await self._date()
        blobs, size_bytes = await self._sweep_loose()
        spools = await self.clear_spools()
        strays = await self._walk()
        return Swept(blobs, size_bytes, spools, strays, restored)

    async def recover(self) -> int:
        """Finish a killed sweep: empty its trash, remove its dying blobs; returns the number of restored files."""
        _, restored = await self._clear(lambda: list(self._audio.trash.iterdir()))
        await self._bury_dying()
        return restored

    async def clear_spools(self) -> int:
        """Remove spools of killed servers; returns their number."""
        removed, _ = await self._clear(self._old_spools)
        return removed

    # -- blobs that may be unused

    async def _date(self) -> None:
        """Set the time of listed blobs that have none, or one in the future; blobs in use leave the list."""
        batches = Batches(self._db, self._clock)
        for first, last in ((0, 0), (self._clock.now_ms() + 1, _LATEST_MS)):
            async for page in _Pages(self._db, first, last):
                await batches.run([row[0] for row in page if row[2]], self._keep)
                await batches.run([row[0] for row in page if not row[2]], self._date_some)

    async def _sweep_loose(self) -> tuple[int, int]:
        """Remove unused blobs whose grace period is over; returns their number and bytes."""
        before = self._clock.now_ms() - round(self._grace_s * 1000)
        batches = Batches(self._db, self._clock)
        taken = size_bytes = 0

        def take(conn: Connection, hashes: Sequence[str]) -> Rows:
            found = self._locked(conn, _SEIZE, hashes)
            rows = conn.execute(_TAKE, {"hashes": found, "before": before}).all() if found else []
            if rows:
                dying = [{"hash": row[0], "suffix": row[1], "size_bytes": row[2]} for row in rows]
                conn.execute(_ADD_DYING, dying)
            return rows

        # While rows of one page are taken, threads remove the files of the page before.
        burial: asyncio.Task[None] | None = None
        dying: list[tuple[str, str]] = []
        try:
            async for page in _Pages(self._db, 1, before - 1):
                await batches.run([row[0] for row in page if row[2]], self._keep)
                rows = [row for some in await batches.run([row[0] for row in page if not row[2]], take) for row in some]
                taken += len(rows)
                size_bytes += sum(row[2] for row in rows)
                if burial is not None:
                    await burial
                    await self._forget_dying(dying, batches)
                dying = [(row[0], row[1]) for row in rows]
                burial = asyncio.create_task(self._bury_files(dying), name="files of a sweep")
            if burial is not None:
                await burial
                await self._forget_dying(dying, batches)
        finally:
            if burial is not None and not burial.done():
                burial.cancel()
                await asyncio.wait((burial,))
        return taken, size_bytes

    def _date_some(self, conn: Connection, hashes: Sequence[str]) -> int:
        return conn.execute(_DATE, {"hashes": hashes, "now": self._clock.now_ms()}).rowcount

    def _keep(self, conn: Connection, hashes: Sequence[str]) -> int:
        """Take blobs off the list that are in use, checked inside the transaction."""
        found = self._locked(conn, _HOLD, hashes)
        return conn.execute(_KEEP, {"hashes": found}).rowcount if found else 0

    def _locked(self, conn: Connection, statement: TextClause, hashes: Sequence[str]) -> Sequence[str]:
        if self._db.dialect == "sqlite":
            return hashes  # SQLite has one writer at a time
        return conn.execute(statement, {"hashes": hashes}).scalars().all()

    # -- files

    async def _bury_dying(self) -> None:
        """Remove the files of dying blobs, then their rows."""
        batches = Batches(self._db, self._clock)
        after = ""
        while True:
            page = {"after": after, "limit": _PAGE}
            rows = await self._db.read(lambda conn, page=page: conn.execute(_DYING, page).all())  # type: ignore[misc]
            if not rows:
                return
            dying = [(row[0], row[1]) for row in rows]
            await self._bury_files(dying)
            await self._forget_dying(dying, batches)
            after = rows[-1][0]

    async def _bury_files(self, blobs: Sequence[tuple[str, str]]) -> None:
        """Remove the files of many blobs, in several threads."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def bury(some: Sequence[tuple[str, str]]) -> None:
            async with room:
                await self._bury(some)

        parts = [bury(blobs[start : start + _FILES]) for start in range(0, len(blobs), _FILES)]
        for failed in await asyncio.gather(*parts, return_exceptions=True):
            if failed is not None:
                raise failed

    async def _forget_dying(self, blobs: Sequence[tuple[str, str]], batches: Batches) -> None:
        hashes = [blob[0] for blob in blobs]
        await batches.run(hashes, lambda conn, some: conn.execute(_BURIED, {"hashes": some}).rowcount)

    async def _bury(self, blobs: Sequence[tuple[str, str]]) -> int:
        """Remove the files of blobs (hash, suffix), except those that have a row in `blobs` again."""
        moved = await asyncio.to_thread(self._audio.bury, blobs)
        return (await self._clear(lambda: moved))[0]

    async def _clear(self, listed: Callable[[], list[Path]]) -> tuple[int, int]:
        """Remove files of the trash or of `tmp`; first restores those whose blob has a row but no file."""
        files = await asyncio.to_thread(listed)
        removed = restored = 0
        for start in range(0, len(files), _FILES):
            some = files[start : start + _FILES]
            # A put that commits its row after this read still has its spool: `settle` links it again.
            rows = await self._known([self._audio.hash_of(file) for file in some])
            one, other = await asyncio.to_thread(self._audio.clear, some, rows)
            removed += one
            restored += other
        return removed, restored

    def _old_spools(self) -> list[Path]:
        return self._audio.left_behind(lambda file: _is_older(file, _SPOOL_AGE_S))

    async def _walk(self) -> int:
        """Check a part of the files: remove those without a row, list unused ones; returns the number removed."""
        removed, left = 0, self._walked
        begin, around = self._folder, False
        while left > 0:
            files, self._folder = await asyncio.to_thread(self._audio.walk, self._folder, min(left, _FILES))
            left -= max(1, len(files))
            removed += await self._look_at(files)
            if around and (not self._folder or self._folder >= begin):
                break
            around = around or not self._folder
        return removed

    async def _look_at(self, files: Sequence[Path]) -> int:
        by_hash = {self._audio.hash_of(file): file for file in files}
        known = await self._known(list(by_hash))
        forgotten = await self._db.read(
            lambda conn: conn.execute(_UNLISTED_OF, {"hashes": list(known)}).scalars().all() if known else ()
        )
        if forgotten:
            await self._db.writer.run(lambda conn: conn.execute(_LIST, {"hashes": forgotten}).rowcount)
        strays = [file for blob_hash, file in by_hash.items() if blob_hash not in known]
        old = await asyncio.to_thread(lambda: [file for file in strays if _is_older(file, self._grace_s)])
        return await self._bury([(self._audio.hash_of(file), file.suffix) for file in old]) if old else 0

    async def _known(self, hashes: Collection[str]) -> set[str]:
        if not hashes:
            return set()
        wanted = {"hashes": list(hashes)}
        return await self._db.read(lambda conn: set(conn.execute(_KNOWN, wanted).scalars()))

    # -- read-only checks

    async def audit(self) -> list[str]:
        """Return the hashes of blobs whose file is missing."""
        return await self._check(self._audio.locate)

    async def damaged(self) -> list[str]:
        """Return the hashes of blobs whose file is damaged. Reads every file of the store."""
        return await self._check(self._audio.prove)

    async def unlisted(self) -> Unlisted:
        """Return unused blobs that are not on the list. The walk of the files finds them, a part in each sweep."""
        return await self._db.read(lambda conn: Unlisted(*map(int, conn.execute(_COUNT_UNLISTED).one())))

    async def _check(self, check: Callable[[str], object]) -> list[str]:
        def failing(hashes: Sequence[str]) -> list[str]:
            found = []
            for blob_hash in hashes:
                try:
                    check(blob_hash)
                except BlobMissing:
                    found.append(blob_hash)
            return found

        failed: list[str] = []
        after = ""
        while True:
            page = {"after": after, "limit": _PAGE}
            hashes = await self._db.read(lambda conn, page=page: list(conn.execute(_ALL, page).scalars()))  # type: ignore[misc]
            if not hashes:
                return failed
            failed += await asyncio.to_thread(failing, hashes)
            after = hashes[-1]


class _Pages:
    """Iterates over pages of listed blobs (hash, loose_ms, in use), by `loose_ms` from `first` to `last`."""

    def __init__(self, db: Database, first: int, last: int) -> None:
        self._db = db
        self._at = (first, "")
        self._last = last

    def __aiter__(self) -> _Pages:
        return self

    async def __anext__(self) -> Rows:
        page = {"ms": self._at[0], "hash": self._at[1], "last": self._last, "limit": _PAGE}
        rows = await self._db.read(lambda conn: conn.execute(_LOOSE, page).all())
        if not rows:
            raise StopAsyncIteration
        self._at = rows[-1][1], rows[-1][0]
        return rows


def _is_older(file: Path, age_s: float) -> bool:
    # File times come from the machine's clock, so compare with it and not with our clock.
    try:
        return time.time() - file.stat().st_mtime > age_s
    except FileNotFoundError:
        return False

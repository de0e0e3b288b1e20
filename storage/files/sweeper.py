"""Removes unused audio: blobs that no row refers to.

Blobs that may be unused are on a list, `blobs.loose_ms`: each put of a blob and each dropped reference adds it (see
`storage.db.models.BlobRow`), and a sweep reads the list, not the whole table. After a grace period a blob in use leaves
the list, and an unused one is removed.

It is removed in three steps; each holds the writer for at most a batch:

1. Its row moves from `blobs` to `dying_blobs`, in a transaction that finds no reference. From then on the foreign keys
   prevent new references; a put of the same bytes makes a new row in `blobs`.
2. Its file moves to the trash. If a put has made a new row since, the file is restored; otherwise it is removed. A put
   that commits its row after this check calls `AudioStore.settle` later, which moves its spool into place.
3. Its row in `dying_blobs` is deleted. A killed sweep leaves that row, and the next sweep, of any server, begins with
   step 2; two at the same time do no harm.

Files without a row, left by a kill between file and row, are removed in the same way. They are found by walking the
folders, a part in each sweep.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Connection, TextClause, text

from gateway.clock import Clock, SystemClock
from storage.db.batches import Batches
from storage.db.database import Database
from storage.db.lists import with_list
from storage.errors import BlobMissing
from storage.files.audio import AudioStore
from storage.files.paths import walk

_PAGE = 5_000
"""Blobs that a reader reads at once; it reads the next ones while these are written."""
_FILES = 1_000
"""Files that a thread moves, removes or lists in one call."""
_AT_ONCE = 2
"""Threads that do so at the same time. More of them wait for the interpreter's lock, as do submits: three threads with
250 files each took 1.5 times as long as two with 1,000 (two busy cores, 2026-12-01)."""
WALKED = 20_000
"""Files of the store that one sweep checks; the next sweep continues after them."""
_SPOOL_AGE_S = 86_400.0
"""The age at which a spool without a known owner is abandoned: longer than a job waits for a chunk."""
_LATEST_MS = 2**62

Rows: TypeAlias = Sequence[Any]


def _by_hash(statement: str) -> TextClause:
    return with_list(statement, "hashes")


# One EXISTS over all tables: for several, PostgreSQL would hash the whole tables.
_REFERENCES = " UNION ALL ".join(
    f"SELECT 1 FROM {table} r WHERE r.blob_hash = b.hash"  # noqa: S608 - constants
    for table in ("takes", "cache_entries", "jobs", "samples", "voices", "word_times")
)
_USED = f"EXISTS ({_REFERENCES})"
_LOOSE = text(
    "SELECT b.hash, b.loose_ms FROM blobs b WHERE b.loose_ms IS NOT NULL "
    "AND (b.loose_ms, b.hash) > (:ms, :hash) AND b.loose_ms <= :last ORDER BY b.loose_ms, b.hash LIMIT :limit"
)
# On PostgreSQL: locks out transactions that drop a reference; rows they hold already are skipped.
_HOLD = _by_hash("SELECT hash FROM blobs WHERE hash IN :hashes ORDER BY hash FOR NO KEY UPDATE SKIP LOCKED")
# Also locks out transactions that make a reference.
_SEIZE = _by_hash("SELECT hash FROM blobs WHERE hash IN :hashes ORDER BY hash FOR UPDATE SKIP LOCKED")
# COALESCE keeps the index of times out of it: PostgreSQL updates its statistics only now and then, so it takes a list
# that has just become long for an empty one, and would read all of it for each batch.
_DATE = _by_hash(
    "UPDATE blobs SET loose_ms = :now WHERE hash IN :hashes AND (COALESCE(loose_ms, 1) = 0 "
    "OR COALESCE(loose_ms, 0) > :now)"
)
_KEEP = _by_hash(f"UPDATE blobs AS b SET loose_ms = NULL WHERE b.hash IN :hashes AND {_USED}")  # noqa: S608 - constants
_TAKING = (
    "DELETE FROM blobs AS b WHERE b.hash IN :hashes AND COALESCE(b.loose_ms, 0) > 0 "  # noqa: S608 - constants
    f"AND COALESCE(b.loose_ms, 0) < :before AND NOT {_USED} RETURNING hash, suffix, size_bytes"
)
_TAKE = _by_hash(_TAKING)
# All rows as one value: one insert for each would wait for the interpreter's lock as often.
_ADD_DYING = text(
    "INSERT INTO dying_blobs (hash, suffix, size_bytes) "
    "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') "
    "FROM json_each(:rows) WHERE TRUE ON CONFLICT (hash) DO NOTHING"
)
# PostgreSQL does both in one statement: several hundred inserts would take longer than the rest of the batch.
_TAKE_SHARED = _by_hash(
    f"WITH taken AS ({_TAKING}), added AS (INSERT INTO dying_blobs (hash, suffix, size_bytes) "  # noqa: S608 - likewise
    "SELECT hash, suffix, size_bytes FROM taken ON CONFLICT (hash) DO NOTHING) SELECT * FROM taken"
)
_DYING = text("SELECT hash, suffix FROM dying_blobs WHERE hash > :after ORDER BY hash LIMIT :limit")
_BURIED = _by_hash("DELETE FROM dying_blobs WHERE hash IN :hashes")
_KNOWN = _by_hash("SELECT hash FROM blobs WHERE hash IN :hashes")
_UNLISTED = f"FROM blobs b WHERE b.loose_ms IS NULL AND NOT {_USED}"
_UNLISTED_OF = _by_hash(f"SELECT b.hash {_UNLISTED} AND b.hash IN :hashes")
_COUNT_UNLISTED = text(f"SELECT COUNT(*), COALESCE(SUM(b.size_bytes), 0) {_UNLISTED}")
# Triggers of SQLite know only the machine's clock, which may have been set back; they take no time before this one.
_NOTE_TIME = text(
    "INSERT INTO marks (name, value) VALUES ('time', :now) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
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
        self._blobs = audio.blobs
        self._clock = clock or SystemClock()
        self._grace_s = grace_s
        self._walked = walked
        # A random start: a server that is restarted often must not walk the same part each time.
        self._folder = os.urandom(2).hex()

    async def sweep(self) -> Swept:
        """Finish a killed sweep, then remove unused blobs, abandoned spools and files without a row."""
        await self._audio.ensure()
        if self._db.dialect == "sqlite":  # servers on PostgreSQL use its clock, and so do its triggers
            await self._db.writer.insert(_NOTE_TIME, {"now": self._clock.now_ms()})
        restored = await self.recover()
        await self._date()
        blobs, size_bytes = await self._sweep_loose()
        spools = await self.clear_spools()
        strays = await self._walk()
        return Swept(blobs, size_bytes, spools, strays, restored)

    async def recover(self) -> int:
        """Finish a killed sweep: empty its trash, remove its dying blobs; returns the number of restored files."""
        _, restored = await self._clear(lambda: list(map(str, self._blobs.trash.iterdir())))
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
            async with aclosing(_pages(self._db, first, last)) as pages:
                async for page in pages:
                    await batches.run([row[0] for row in page], self._date_some)

    async def _sweep_loose(self) -> tuple[int, int]:
        """Remove unused blobs whose grace period is over; returns their number and bytes."""
        before = self._clock.now_ms() - round(self._grace_s * 1000)
        batches = Batches(self._db, self._clock)
        taken = size_bytes = 0

        def take(conn: Connection, hashes: Sequence[str]) -> Rows:
            rows = self._take(conn, hashes, before)
            if len(rows) < len(hashes):
                gone = {row[0] for row in rows}
                self._keep(conn, [blob_hash for blob_hash in hashes if blob_hash not in gone])
            return rows

        # While rows of one page are taken, threads remove the files of the page before.
        burial: asyncio.Task[None] | None = None
        dying: list[tuple[str, str]] = []
        try:
            async with aclosing(_pages(self._db, 1, before - 1)) as pages:
                async for page in pages:
                    hashes = [row[0] for row in page]
                    rows = [row for some in await batches.run(hashes, take) for row in some]
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
        self._keep(conn, hashes)
        return conn.execute(_DATE, {"hashes": hashes, "now": self._clock.now_ms()}).rowcount

    def _take(self, conn: Connection, hashes: Sequence[str], before: int) -> Rows:
        """Move unused blobs that are listed since before a time from `blobs` to `dying_blobs`; returns them."""
        if self._db.dialect == "postgresql":
            held = conn.execute(_SEIZE, {"hashes": hashes}).scalars().all()
            return conn.execute(_TAKE_SHARED, {"hashes": held, "before": before}).all() if held else []
        rows = conn.execute(_TAKE, {"hashes": hashes, "before": before}).all()
        if rows:
            conn.execute(_ADD_DYING, {"rows": msgspec.json.encode([tuple(row) for row in rows]).decode()})
        return rows

    def _keep(self, conn: Connection, hashes: Sequence[str]) -> int:
        """Take blobs off the list that are in use, checked inside the transaction."""
        if self._db.dialect == "postgresql":  # SQLite has one writer at a time
            hashes = conn.execute(_HOLD, {"hashes": hashes}).scalars().all()
        return conn.execute(_KEEP, {"hashes": hashes}).rowcount if hashes else 0

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
        moved = await asyncio.to_thread(self._blobs.bury, blobs)
        return (await self._clear(lambda: moved))[0]

    async def _clear(self, listed: Callable[[], list[str]]) -> tuple[int, int]:
        """Remove files of the trash and abandoned spools; those whose blob has a row but no file are put back."""
        files = await asyncio.to_thread(listed)
        removed = restored = 0
        for start in range(0, len(files), _FILES):
            some = files[start : start + _FILES]
            # A put that commits its row after this read still has its spool: `settle` moves it into place.
            rows = await self._known([self._blobs.hash_of(file) for file in some])
            one, other = await asyncio.to_thread(self._blobs.clear, some, rows)
            removed += one
            restored += other
        return removed, restored

    def _old_spools(self) -> list[str]:
        return list(map(str, self._audio.spools.left_behind(lambda file: _is_older(file, _SPOOL_AGE_S))))

    async def _walk(self) -> int:
        """Check a part of the files: remove those without a row, list unused ones; returns the number removed."""
        removed, left = 0, self._walked
        begin, around = self._folder, False
        while left > 0:
            files, self._folder = await asyncio.to_thread(walk, self._blobs.root, self._folder, min(left, _FILES))
            left -= max(1, len(files))
            removed += await self._look_at(files)
            if around and (not self._folder or self._folder >= begin):
                break
            around = around or not self._folder
        return removed

    async def _look_at(self, files: Sequence[Path]) -> int:
        by_hash = {self._blobs.hash_of(file): file for file in files}
        known = await self._known(list(by_hash))
        forgotten = await self._db.read(
            lambda conn: conn.execute(_UNLISTED_OF, {"hashes": list(known)}).scalars().all() if known else ()
        )
        if forgotten:
            await self._db.writer.run(lambda conn: conn.execute(_LIST, {"hashes": forgotten}).rowcount)
        strays = [file for blob_hash, file in by_hash.items() if blob_hash not in known]
        old = await asyncio.to_thread(lambda: [file for file in strays if _is_older(file, self._grace_s)])
        return await self._bury([(self._blobs.hash_of(file), file.suffix) for file in old]) if old else 0

    async def _known(self, hashes: Collection[str]) -> set[str]:
        if not hashes:
            return set()
        wanted = {"hashes": list(hashes)}
        return await self._db.read(lambda conn: set(conn.execute(_KNOWN, wanted).scalars()))

    # -- read-only checks

    async def audit(self) -> list[str]:
        """Return the hashes of blobs whose file is missing."""
        return await self._check(self._blobs.locate)

    async def damaged(self) -> list[str]:
        """Return the hashes of blobs whose file is damaged. Reads every file of the store."""
        return await self._check(self._blobs.prove)

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


async def _pages(db: Database, first: int, last: int) -> AsyncGenerator[Rows, None]:
    """Yield pages of listed blobs (hash, loose_ms) from time `first` to `last`, in that order.

    Each page is read while the caller works on the one before.
    """

    async def read(ms: int, blob_hash: str) -> Rows:
        page = {"ms": ms, "hash": blob_hash, "last": last, "limit": _PAGE}
        return await db.read(lambda conn: conn.execute(_LOOSE, page).all())

    rows = await read(first, "")
    while rows:
        ahead = asyncio.create_task(read(rows[-1][1], rows[-1][0]), name="the next page of listed blobs")
        try:
            yield rows
            rows = await ahead
        finally:
            ahead.cancel()


def _is_older(file: Path, age_s: float) -> bool:
    # File times come from the machine's clock, so compare with it and not with our clock.
    try:
        return time.time() - file.stat().st_mtime > age_s
    except FileNotFoundError:
        return False

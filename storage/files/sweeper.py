"""Removes audio that nothing refers to, and never audio that something does.

A blob that nothing may refer to is on a list, `blobs.loose_ms`: whatever puts it or drops a reference to it writes it
there (see `storage.db.models.Blob`), and a sweep walks the list, not the table. A reader looks who refers to each; a
blob in use leaves the list, one that is not dies a grace later.

It dies in three steps, none of which holds the writer for longer than a batch:

1. Its row moves from `blobs` to `dying_blobs`, in a transaction that finds no reference. From here on the foreign keys
   let nothing refer to it; a put of the same bytes makes a row of `blobs` anew.
2. Its file is moved to the trash. Then we look whether a put has made it a row since, and put the file back, or remove
   it. Whoever commits such a row after that look calls `AudioStore.settle` after it, too, which finds the file gone and
   puts it back from its spool.
3. The row leaves `dying_blobs`. A sweep that was killed before leaves it there, and the next one, of any server,
   begins with step 2; two at once do no harm.

Files without a row, which a kill between file and row leaves, go in the same way. They are found by walking the
folders, a part at each sweep.
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
"""Blobs that a reader looks up at once."""
_FILES = 250
"""Files that a thread moves, removes or lists in one go."""
_AT_ONCE = 3
"""Threads that do so."""
WALKED = 20_000
"""Files of the store that a sweep asks the database about; the next sweep goes on from there."""
_SPOOL_AGE_S = 86_400.0
"""A spool may lie still for as long as its job waits for a chunk; a day is longer than that."""
_LATEST_MS = 2**62

Rows: TypeAlias = Sequence[Any]


def _by_hash(statement: str) -> TextClause:
    return text(statement).bindparams(bindparam("hashes", expanding=True))


# One EXISTS of all: of several, PostgreSQL would make tables of whole tables' hashes.
_REFERENCES = " UNION ALL ".join(
    f"SELECT 1 FROM {table} r WHERE r.blob_hash = b.hash"  # noqa: S608 - constants
    for table in ("takes", "cache_entries", "jobs", "samples", "voices")
)
_USED = f"EXISTS ({_REFERENCES})"
_LOOSE = text(
    f"SELECT b.hash, b.loose_ms, {_USED} FROM blobs b WHERE b.loose_ms IS NOT NULL "  # noqa: S608 - constants
    "AND (b.loose_ms, b.hash) > (:ms, :hash) AND b.loose_ms <= :last ORDER BY b.loose_ms, b.hash LIMIT :limit"
)
# On PostgreSQL: whoever drops a reference to one of these just now holds its row, or waits for us with the drop.
_HOLD = _by_hash("SELECT hash FROM blobs WHERE hash IN :hashes ORDER BY hash FOR NO KEY UPDATE SKIP LOCKED")
# And whoever makes a reference; after this, nobody does.
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
    """What a sweep removed: blobs and their bytes, spools and files that no row knew; and what it put back."""

    blobs: int = 0
    size_bytes: int = 0
    spools: int = 0
    strays: int = 0
    restored: int = 0


class Unlisted(msgspec.Struct, frozen=True):
    """Blobs that nothing refers to and that are on no sweep's list."""

    blobs: int
    size_bytes: int


class Sweeper:
    """Sweeps one audio store; several servers may sweep the same."""

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
            grace_s: how long unused audio stays; longer than any request between its look-up and its answer.
            walked: how many files a sweep looks at to find those without a row.
        """
        self._db = db
        self._audio = audio
        self._clock = clock or SystemClock()
        self._grace_s = grace_s
        self._walked = walked
        # A server that is restarted often must not walk the same part each time.
        self._folder = os.urandom(2).hex()

    async def sweep(self) -> Swept:
        """Finish what a killed sweep began, then remove unused blobs, old spools and files without a row."""
        await self._audio.ensure()
        restored = await self.recover()
        await self._date()
        blobs, size_bytes = await self._sweep_loose()
        spools = await self.clear_spools()
        strays = await self._walk()
        return Swept(blobs, size_bytes, spools, strays, restored)

    async def recover(self) -> int:
        """Finish what a killed sweep began: its trash, and the blobs that are dying; gives how many files came back."""
        _, restored = await self._clear(lambda: list(self._audio.trash.iterdir()))
        await self._bury_dying()
        return restored

    async def clear_spools(self) -> int:
        """Remove what servers that were killed have left behind; gives how many files."""
        removed, _ = await self._clear(self._old_spools)
        return removed

    # -- blobs that nothing may refer to

    async def _date(self) -> None:
        """Give those a time that have none, or one from a clock that was wrong; those in use leave the list."""
        batches = Batches(self._db, self._clock)
        for first, last in ((0, 0), (self._clock.now_ms() + 1, _LATEST_MS)):
            async for page in _Pages(self._db, first, last):
                await batches.run([row[0] for row in page if row[2]], self._keep)
                await batches.run([row[0] for row in page if not row[2]], self._date_some)

    async def _sweep_loose(self) -> tuple[int, int]:
        """Remove those whose grace is over; gives how many, and their bytes."""
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

        # While rows are taken, threads remove the files of those before.
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
        """Take blobs off the list that are in use, as seen from within the transaction."""
        found = self._locked(conn, _HOLD, hashes)
        return conn.execute(_KEEP, {"hashes": found}).rowcount if found else 0

    def _locked(self, conn: Connection, statement: TextClause, hashes: Sequence[str]) -> Sequence[str]:
        if self._db.dialect == "sqlite":
            return hashes  # nobody else writes now
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
        """Remove the files of many blobs, some of them at once."""
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
        """Remove the files of blobs (hash, suffix), but those that have a row of `blobs` again."""
        moved = await asyncio.to_thread(self._audio.bury, blobs)
        return (await self._clear(lambda: moved))[0]

    async def _clear(self, listed: Callable[[], list[Path]]) -> tuple[int, int]:
        """Remove files of the trash or of `tmp`; what has a row and no file any more is put back first."""
        files = await asyncio.to_thread(listed)
        removed = restored = 0
        for start in range(0, len(files), _FILES):
            some = files[start : start + _FILES]
            # Whoever commits a row after this look still has a spool of its own: `settle` links it again.
            rows = await self._known([self._audio.hash_of(file) for file in some])
            one, other = await asyncio.to_thread(self._audio.clear, some, rows)
            removed += one
            restored += other
        return removed, restored

    def _old_spools(self) -> list[Path]:
        return self._audio.left_behind(lambda file: _is_older(file, _SPOOL_AGE_S))

    async def _walk(self) -> int:
        """Look at a part of the files: remove those without a row, list those in no use; gives how many went."""
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

    # -- looking only

    async def audit(self) -> list[str]:
        """The hashes of blobs whose file is missing."""
        return await self._check(self._audio.locate)

    async def damaged(self) -> list[str]:
        """The hashes of blobs whose file is there and holds other bytes. Reads every file of the store."""
        return await self._check(self._audio.prove)

    async def unlisted(self) -> Unlisted:
        """Blobs that no sweep would find by its list. The walk of the files finds them, a part at each sweep."""
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
    """Pages of loose blobs (hash, loose_ms, whether in use), in the order of their times, from `first` to `last`."""

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
    # A file's own time is the machine's, whatever clock we were given.
    try:
        return time.time() - file.stat().st_mtime > age_s
    except FileNotFoundError:
        return False

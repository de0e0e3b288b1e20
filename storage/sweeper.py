"""Removes audio that nothing refers to, and never audio that something does.

A blob's row goes first, in a transaction that holds the writer's lock (on PostgreSQL: that row's, so that nobody can
begin to refer to it); its file is moved to the trash before that
transaction commits. So whoever stores the same bytes meanwhile either committed his row before (it is young: the
sweeper leaves it) or commits after, and `AudioStore.settle` then finds the file gone and puts it back. A sweeper
that is killed in between leaves the file in the trash, where `AudioStore.locate` and the next sweep find it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from sqlalchemy import Connection, bindparam, text

from gateway.clock import Clock, SystemClock
from storage.audio import AudioStore
from storage.database import Database
from storage.errors import BlobMissing

_BATCH = 200
_SPOOL_AGE_S = 86_400.0
"""A spool may lie still for as long as its job waits for a chunk; a day is longer than that."""

# Foreign keys forbid to delete a blob in use; this finds those that are not.
_IS_UNUSED = " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {table} r WHERE r.blob_hash = b.hash)"  # noqa: S608 - constants
    for table in ("takes", "jobs", "cache_entries", "voices", "samples")
)
_UNUSED = f"SELECT b.hash FROM blobs b WHERE b.loose_ms < :before AND {_IS_UNUSED}"  # noqa: S608 - constants
_CANDIDATES = {
    "sqlite": text(f"{_UNUSED} LIMIT :limit"),
    "postgresql": text(f"{_UNUSED} LIMIT :limit FOR UPDATE OF b SKIP LOCKED"),
}
# It looks again: on PostgreSQL a reference may have been committed since the candidates were chosen, none after.
_REMOVE = text(
    f"DELETE FROM blobs WHERE hash IN ({_UNUSED} AND b.hash IN :hashes) RETURNING hash, size_bytes"  # noqa: S608
).bindparams(bindparam("hashes", expanding=True))
_KNOWN = text("SELECT hash FROM blobs WHERE hash IN :hashes").bindparams(bindparam("hashes", expanding=True))
_PAGE = text("SELECT hash FROM blobs WHERE hash > :after ORDER BY hash LIMIT :limit")


class Swept(msgspec.Struct, frozen=True):
    """What a sweep removed: blobs and their bytes, spools and files that no row knew; and what it put back."""

    blobs: int = 0
    size_bytes: int = 0
    spools: int = 0
    strays: int = 0
    restored: int = 0


class Sweeper:
    """Sweeps one audio store; two servers may sweep the same."""

    def __init__(self, db: Database, audio: AudioStore, clock: Clock | None = None, grace_s: float = 3600.0) -> None:
        """`grace_s`: how long unused audio stays; longer than any request between its look-up and its answer."""
        self._db = db
        self._audio = audio
        self._clock = clock or SystemClock()
        self._grace_s = grace_s

    async def sweep(self) -> Swept:
        """Empty the trash of a killed sweep, then remove unused blobs, old spools and files without a row."""
        await self._audio.ensure()
        restored = await self.recover()
        blobs, size_bytes = await self._sweep_rows()
        spools = await self.clear_spools()
        strays = await self._sweep_strays()
        return Swept(blobs, size_bytes, spools, strays, restored)

    async def recover(self) -> int:
        """Put back what a killed sweep took and never committed; gives how many files."""
        _, restored = await self._clear(lambda: list(self._audio.trash.iterdir()))
        return restored

    async def clear_spools(self) -> int:
        """Remove what servers that were killed have left behind; gives how many files."""
        removed, _ = await self._clear(self._old_spools)
        return removed

    async def _clear(self, listed: Callable[[], list[Path]]) -> tuple[int, int]:
        """Remove files of the trash or of `tmp`; what has a row and no file any more is put back first."""
        files = await asyncio.to_thread(listed)
        if not files:
            return 0, 0
        # Whoever commits a row after this look still has a spool of its own: `settle` links it again.
        rows = await self._db.read(lambda conn: _known(conn, [self._audio.hash_of(file) for file in files]))
        return await asyncio.to_thread(self._audio.clear, files, rows)

    def _old_spools(self) -> list[Path]:
        return self._audio.left_behind(lambda file: _is_older(file, _SPOOL_AGE_S))

    async def audit(self) -> list[str]:
        """The hashes of blobs whose file is missing."""
        missing: list[str] = []
        after = ""
        while True:
            page = {"after": after, "limit": 1_000}
            hashes = await self._db.read(lambda conn, page=page: list(conn.execute(_PAGE, page).scalars()))  # type: ignore[misc]
            if not hashes:
                return missing
            missing += await asyncio.to_thread(self._missing, hashes)
            after = hashes[-1]

    async def _sweep_rows(self) -> tuple[int, int]:
        before = self._clock.now_ms() - round(self._grace_s * 1000)

        def remove(conn: Connection) -> list[tuple[str, int]]:
            candidates = (
                conn.execute(_CANDIDATES[self._db.dialect], {"before": before, "limit": _BATCH}).scalars().all()
            )
            removed = conn.execute(_REMOVE, {"before": before, "hashes": candidates}) if candidates else ()
            rows = [(row[0], row[1]) for row in removed]
            for blob_hash, _ in rows:
                self._audio.discard(blob_hash)
            return rows

        blobs = size_bytes = 0
        while rows := await self._db.writer.run(remove):
            await self.recover()
            blobs += len(rows)
            size_bytes += sum(size for _, size in rows)
        return blobs, size_bytes

    async def _sweep_strays(self) -> int:
        files = await asyncio.to_thread(
            lambda: [file.stem for file in self._audio.files() if _is_older(file, self._grace_s)]
        )
        removed = 0
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            known = await self._db.read(lambda conn, batch=batch: _known(conn, batch))  # type: ignore[misc]
            strays = [blob_hash for blob_hash in batch if blob_hash not in known]
            if strays:
                removed += await self._db.writer.run(lambda conn, strays=strays: self._discard(conn, strays))  # type: ignore[misc]
                await self.recover()
        return removed

    def _discard(self, conn: Connection, strays: list[str]) -> int:
        still = set(strays) - _known(conn, strays)
        for blob_hash in still:
            self._audio.discard(blob_hash)
        return len(still)

    def _missing(self, hashes: list[str]) -> list[str]:
        missing = []
        for blob_hash in hashes:
            try:
                self._audio.locate(blob_hash)
            except BlobMissing:
                missing.append(blob_hash)
        return missing


def _is_older(file: Path, age_s: float) -> bool:
    # A file's own time is the machine's, whatever clock we were given.
    try:
        return time.time() - file.stat().st_mtime > age_s
    except FileNotFoundError:
        return False


def _known(conn: Connection, hashes: list[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(hashes), _BATCH):
        found.update(conn.execute(_KNOWN, {"hashes": hashes[start : start + _BATCH]}).scalars())
    return found

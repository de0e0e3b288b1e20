"""The audio store: blobs that are asked for by hash.

No row may refer to a missing file. So a put has this order: write a spool, rename it to its hash, fsync it and its
folder (`put_file`); commit the row; then `settle`: move the spool into the blob store. After a kill or power loss in
between, a reader that misses the file finds the spool. A sweeper cannot take a file whose row is not committed yet,
since it is still a spool. The fsync of the store's folders (up to three) comes after the commit, so that a caller does
not wait for it. (obstore's local store does not fsync.)
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from storage.errors import StorageError, translate
from storage.files.blob_store import BlobStore
from storage.files.integrity import is_hash_of
from storage.files.paths import fsync_folder, read_cached
from storage.files.spools import Spools
from storage.records import BlobRecord

T = TypeVar("T")

_BLOCK = 1 << 18
_THREADS = 8
_SHORT_BYTES = 1 << 18


class StoredAudio(msgspec.Struct, frozen=True):
    """A blob that can be read.

    Args:
        read: yields the bytes from the first to the last, both included.
    """

    hash: str
    size_bytes: int
    read: Callable[[int, int], AsyncGenerator[bytes, None]]


class AudioStore:
    """Content-addressed audio in a folder; every method that touches the disk runs in a thread.

    Attributes:
        spools: its files on this machine's disk that no row refers to yet.
        blobs: its files by hash.
    """

    def __init__(self, root: Path, on_damage: Callable[[], None] = lambda: None) -> None:
        """Make the store's folder.

        Args:
            on_damage: called, in any thread, when a damaged file was found.

        Raises:
            StorageError: the folder cannot be made or written.
        """
        self.root = root
        self.spools = Spools(root)
        self.blobs = BlobStore(root, self.spools.of, on_damage)
        # Its own threads, so that a read does not wait for other work in asyncio's default executor.
        self._files = ThreadPoolExecutor(_THREADS, thread_name_prefix="voxgate-files")
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._make_folders()
            fsync_folder(root)
        except OSError as error:
            raise self._meant(error) from error

    async def ensure(self) -> None:
        """Check that the store's folder exists; make the folders in it again if somebody deleted them.

        Raises:
            StorageError: the folder is missing. It is not made again: it may be a disk that is not mounted.
        """
        await self._thread(self._make_folders)

    async def put_file(self, spool: Path, suffix: str) -> BlobRecord:
        """Store a spool's bytes durably; it stays a spool until `settle`.

        Args:
            spool: a finished file at a path from `spools.new`.
            suffix: with its dot, such as `.mp3`.

        Raises:
            StorageError: the disk is full or read-only; nothing refers to the bytes then.
        """
        return await self._thread(lambda: self._put(spool, suffix))

    async def put_many(self, pieces: Sequence[bytes], suffix: str) -> list[BlobRecord]:
        """As `put_file`, for pieces in memory; stores all of them, or raises."""
        return await self._thread(lambda: self._put_many(pieces, suffix))

    async def settle(self, *blobs: BlobRecord) -> None:
        """Finish a put after the blobs' rows are committed: move their spools into the blob store."""
        await self._thread(lambda: self._settle(blobs))

    async def size(self, blob_hash: str) -> int:
        """Return the size of a blob in bytes.

        Raises:
            BlobMissing: the file is missing or damaged.
        """

        def size() -> int:
            with self.blobs.sound(blob_hash) as file:
                return os.fstat(file.fileno()).st_size

        return await self._thread(size)

    async def stored(self, blob_hash: str) -> StoredAudio:
        """Return a blob to read. Raises BlobMissing."""
        return StoredAudio(blob_hash, await self.size(blob_hash), partial(self.read_range, blob_hash))

    async def read_range(self, blob_hash: str, first: int, last: int) -> AsyncGenerator[bytes, None]:
        """Yield a blob's bytes from `first` to `last`, both included, in pieces; its deletion does not end it.

        Raises:
            BlobMissing: the file is missing or damaged.
        """
        file = await self._thread(lambda: self.blobs.sound(blob_hash))
        try:
            await self._thread(lambda: file.seek(first))
            left = last - first + 1
            while left > 0:
                piece = await self._thread(lambda left=left: file.read(min(_BLOCK, left)))  # type: ignore[misc]
                if not piece:
                    raise StorageError(f"{blob_hash} ended {left} bytes early")
                left -= len(piece)
                yield piece
        finally:
            file.close()

    async def read(self, blob_hash: str) -> bytes:
        """Return a blob's bytes. Raises BlobMissing."""
        return await self._thread(lambda: self.blobs.read(blob_hash))

    async def read_base64(self, blob_hash: str, suffix: str, at_most: int) -> bytes | None:
        """Return a blob as base64; None if it has more than `at_most` bytes. Raises BlobMissing.

        A short blob in the system's cache is read on the event loop, any other in a thread.
        """
        data = read_cached(self.blobs.where(blob_hash, suffix), min(at_most, _SHORT_BYTES))
        if data is not None and is_hash_of(data, blob_hash):
            return base64.b64encode(data)

        def read() -> bytes | None:
            with self.blobs.opened(blob_hash) as file:
                short = os.fstat(file.fileno()).st_size <= at_most
            if short:
                return base64.b64encode(self.blobs.read(blob_hash))
            self.blobs.sound(blob_hash).close()
            return None

        return await self._thread(read)

    @contextlib.asynccontextmanager
    async def local(self, blob_hash: str) -> AsyncIterator[Path]:
        """Give the path of a file on this machine with a blob's bytes, inside the block. Raises BlobMissing."""
        held = self.blobs.local(blob_hash)
        path = await self._thread(held.__enter__)
        try:
            yield path
        finally:
            await self._thread(lambda: held.__exit__(None, None, None))

    def _make_folders(self) -> None:
        self.spools.folder.mkdir(exist_ok=True)
        self.blobs.trash.mkdir(exist_ok=True)

    def _put(self, spool: Path, suffix: str) -> BlobRecord:
        with spool.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            blob = self.spools.hold(spool, digest, file.tell(), suffix)
            try:
                self.spools.make_durable((file,))
            except BaseException:
                Path(blob.spool).unlink(missing_ok=True)
                raise
        return blob

    def _put_many(self, pieces: Sequence[bytes], suffix: str) -> list[BlobRecord]:
        blobs: list[BlobRecord] = []
        spool = self.spools.new()
        try:
            with contextlib.ExitStack() as opened:
                files = []
                for data in pieces:
                    spool = self.spools.new()
                    files.append(opened.enter_context(spool.open("xb", buffering=0)))
                    left = memoryview(data)
                    while left:
                        left = left[files[-1].write(left) :]
                    blobs.append(self.spools.hold(spool, hashlib.sha256(data).hexdigest(), len(data), suffix))
                self.spools.make_durable(files)
        except BaseException:
            for file_name in (spool, *(Path(blob.spool) for blob in blobs)):
                file_name.unlink(missing_ok=True)
            raise
        return blobs

    def _settle(self, blobs: Sequence[BlobRecord]) -> None:
        for blob in blobs:
            if blob.spool:
                try:
                    self.blobs.adopt(Path(blob.spool), blob.hash, blob.suffix)
                except FileNotFoundError:
                    self.blobs.locate(blob.hash)  # raises, unless a sweeper that took the spool for abandoned moved it

    async def _thread(self, fn: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._files, fn)
        except OSError as error:
            raise self._meant(error) from error

    def _meant(self, error: OSError) -> BaseException:
        meant = translate(error, str(self.root))
        return StorageError(f"{self.root}: {error}") if meant is error else meant

"""The audio store: files named by the SHA-256 of their bytes, `aa/bb/HASH.ext` under one folder.

The order that makes "no row points at a missing file" hold: write a spool in the store's own `tmp`, name it by its
hash, fsync it and `tmp`, link it to its final name (`put_file`); commit the row; then `settle`, which makes sure that
no sweeper took the file before the row was there, fsyncs the final name's folders, and only then drops the spool. If
we are killed in between, or the power goes, whoever misses the file finds the spool. Nobody who waits for a result
waits for the folders: on a new store they are three. (obstore's local store does not fsync.)
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, BinaryIO, TypeVar

from storage.errors import BlobMissing, StorageError, translate
from storage.records import BlobRecord
from storage.spools import Spools

T = TypeVar("T")

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS}
_BLOCK = 1 << 20
_THREADS = 8
_HEX = frozenset("0123456789abcdef")
_SHORT_BYTES = 1 << 18


class AudioStore:
    """Content-addressed audio in a folder; every method that touches the disk runs in a thread."""

    def __init__(self, root: Path) -> None:
        """Make the folder.

        Raises:
            StorageError: it cannot be made or written.
        """
        self.root = root
        self.tmp = root / "tmp"
        self.trash = root / "trash"
        self._spools = Spools(self.root / "owners")
        # Threads of its own: whatever else fills asyncio's, a file that is asked for waits for files only.
        self._files = ThreadPoolExecutor(_THREADS, thread_name_prefix="voxgate-files")
        self._beside = ThreadPoolExecutor(2, thread_name_prefix="voxgate-fsync")
        self._sure: set[str] = set()
        """Folders, as `aa` and `aabb`, that are on the disk for certain; at most 65,792."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.tmp.mkdir(exist_ok=True)
            self.trash.mkdir(exist_ok=True)
            _fsync_folder(self.root)
        except OSError as error:
            raise self._meant(error) from error

    def new_spool(self) -> Path:
        """A name nobody has, on the store's own disk, for a file that `put_file` will take."""
        return self.tmp / self._spools.new_name()

    async def ensure(self) -> None:
        """See that the folder is there, and make `tmp` and `trash` again, which others take for rubbish.

        Raises:
            StorageError: it is gone. It is not made again: it may be a disk that is away.
        """

        def ensure() -> None:
            self.tmp.mkdir(exist_ok=True)
            self.trash.mkdir(exist_ok=True)

        await self._thread(ensure)

    async def put_file(self, spool: Path, suffix: str) -> BlobRecord:
        """Store a spool's bytes, durably, and keep the spool until `settle`.

        Args:
            spool: a finished file at a `new_spool` name.
            suffix: with its dot, such as `.mp3`.

        Raises:
            StorageError: full, read-only; nothing refers to the bytes then.
        """
        return await self._thread(lambda: self._put(spool, suffix))

    async def put_bytes(self, data: bytes, suffix: str) -> BlobRecord:
        """As `put_file`, for bytes in memory."""
        return (await self.put_many((data,), suffix))[0]

    async def put_many(self, pieces: Sequence[bytes], suffix: str) -> list[BlobRecord]:
        """As `put_bytes`, several at once; all are stored, or it raises."""
        return await self._thread(lambda: self._put_many(pieces, suffix))

    async def settle(self, *blobs: BlobRecord) -> None:
        """Once the blobs' rows are committed: put files back that a sweeper took meanwhile, drop the spools."""
        await self._thread(lambda: self._settle(blobs))

    async def path(self, blob_hash: str) -> Path:
        """Where a blob's file is. Open it rather than keep the path: a deleted blob's file goes.

        Raises:
            BlobMissing: there is none.
        """
        return await self._thread(lambda: self.locate(blob_hash))

    async def open(self, blob_hash: str) -> BinaryIO:
        """A blob's file, open for reading; stays readable when it is deleted. Raises BlobMissing."""
        return await self._thread(lambda: self._opened(blob_hash))

    async def read(self, blob_hash: str) -> bytes:
        """A blob's bytes. Raises BlobMissing."""

        def read() -> bytes:
            with self._opened(blob_hash) as file:
                return file.read()

        return await self._thread(read)

    async def read_base64(self, blob_hash: str, suffix: str, at_most: int) -> bytes | None:
        """A blob as base64; None when it has more than `at_most` bytes. Raises BlobMissing.

        A short one that the system has in its memory is read where one stands, everything else in a thread.
        """
        data = _read_cached(self.where(blob_hash, suffix), min(at_most, _SHORT_BYTES))
        if data is not None:
            return base64.b64encode(data)

        def read() -> bytes | None:
            with self._opened(blob_hash) as file:
                if os.fstat(file.fileno()).st_size > at_most:
                    return None
                return base64.b64encode(file.read())

        return await self._thread(read)

    async def size(self, blob_hash: str) -> int:
        """A blob's size in bytes. Raises BlobMissing."""

        def size() -> int:
            with self._opened(blob_hash) as file:
                return os.fstat(file.fileno()).st_size

        return await self._thread(size)

    def locate(self, blob_hash: str) -> Path:
        """As `path`, in the calling thread. A file that a killed sweeper left in the trash is put back.

        Raises:
            BlobMissing: there is none.
        """
        found = self._find(blob_hash)
        if found is None and self._restore(blob_hash):
            found = self._find(blob_hash)
        if found is None:
            raise BlobMissing(blob_hash)
        return found

    def _opened(self, blob_hash: str) -> BinaryIO:
        """As `locate`, open: between the two a sweeper may take it."""
        try:
            return self.locate(blob_hash).open("rb")
        except FileNotFoundError as error:
            raise BlobMissing(blob_hash) from error

    def where(self, blob_hash: str, suffix: str) -> Path:
        """Where a blob's file lies if it is there; asks no disk."""
        return self._folder(blob_hash) / f"{blob_hash}{suffix}"

    def discard(self, blob_hash: str) -> None:
        """Move a blob's file to the trash, in the calling thread, inside the transaction that deletes its row."""
        if (found := self._find(blob_hash)) is not None:
            found.replace(self.trash / found.name)

    def left_behind(self, is_old: Callable[[Path], bool]) -> list[Path]:
        """Spools that nobody will finish, in the calling thread: of processes that have ended, and old ones of which
        nobody can tell."""
        return self._spools.left_behind(self.tmp.iterdir(), is_old)

    def clear(self, files: list[Path], rows: set[str]) -> tuple[int, int]:
        """Remove files of the trash or of `tmp`, in the calling thread; those in `rows` without a file come back first.

        Returns:
            How many were removed, and how many were put back.
        """
        restored = 0
        for file in files:
            blob_hash = self.hash_of(file)
            if blob_hash in rows and self._find(blob_hash) is None and self._restore(blob_hash):
                restored += 1
            file.unlink(missing_ok=True)
        return len(files), restored

    @staticmethod
    def hash_of(file: Path) -> str:
        """The blob that a file of the trash or of `tmp` holds, "" for a spool that is being written."""
        return file.name.split(".", 1)[0]

    def files(self) -> Iterator[Path]:
        """Every file that is stored, in no order. What others keep in the folder is not looked at."""
        for first in self.root.iterdir():
            if _is_hex(first.name) and first.is_dir():
                for second in first.iterdir():
                    if _is_hex(second.name) and second.is_dir():
                        yield from second.iterdir()

    def _put(self, spool: Path, suffix: str) -> BlobRecord:
        digest = hashlib.sha256()
        with spool.open("r+b") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
            size = file.tell()
            blob = self._hold(spool, digest.hexdigest(), size, suffix)
            try:
                self._make_durable((file,))
                self._publish((blob,))
            except BaseException:
                Path(blob.spool).unlink(missing_ok=True)
                raise
        return blob

    def _put_many(self, pieces: Sequence[bytes], suffix: str) -> list[BlobRecord]:
        blobs: list[BlobRecord] = []
        spool = self.new_spool()
        try:
            with contextlib.ExitStack() as opened:
                files = []
                for data in pieces:
                    spool = self.new_spool()
                    files.append(opened.enter_context(spool.open("xb", buffering=0)))
                    left = memoryview(data)
                    while left:
                        left = left[files[-1].write(left) :]
                    blobs.append(self._hold(spool, hashlib.sha256(data).hexdigest(), len(data), suffix))
                self._make_durable(files)
            self._publish(blobs)
        except BaseException:
            for file_name in (spool, *(Path(blob.spool) for blob in blobs)):
                file_name.unlink(missing_ok=True)
            raise
        return blobs

    def _make_durable(self, spools: Sequence[IO[bytes]]) -> None:
        """Spools and their names: both at once, since a disk takes hardly longer for two than for one."""
        names = self._beside.submit(_fsync_folder, self.tmp)
        try:
            for spool in spools:
                os.fsync(spool.fileno())
        finally:
            names.result()

    def _hold(self, spool: Path, digest: str, size: int, suffix: str) -> BlobRecord:
        """Name a spool by what it holds, so that a sweeper knows what it is."""
        held = spool.replace(self.tmp / f"{digest}{suffix}.{self._spools.new_name()}")
        return BlobRecord(hash=digest, size_bytes=size, suffix=suffix, spool=str(held))

    def _settle(self, blobs: Sequence[BlobRecord]) -> None:
        held = [blob for blob in blobs if blob.spool]
        self._publish([blob for blob in held if self._find(blob.hash) is None])
        self._make_sure([blob.hash for blob in held])
        for blob in held:
            Path(blob.spool).unlink(missing_ok=True)

    def _make_sure(self, hashes: Sequence[str]) -> None:
        """That the files' names are on the disk, and the folders above them; each folder once, the innermost first."""
        new = {name for each in hashes for name in (each[:2], each[:4])} - self._sure
        folders = {self._folder(each) for each in hashes}
        folders |= {self.root if len(name) == 2 else self.root / name[:2] for name in new}
        for folder in sorted(folders, key=lambda path: -len(path.parts)):
            _fsync_folder(folder)
        self._sure |= new

    def _publish(self, blobs: Sequence[BlobRecord]) -> None:
        """Give every blob its place."""
        for blob in blobs:
            existing = self._find(blob.hash)
            if existing is not None:
                with contextlib.suppress(FileNotFoundError):  # a sweeper takes it at this moment
                    if existing.stat().st_size == blob.size_bytes:
                        continue
                existing.unlink(missing_ok=True)  # a disk that lied; the good bytes are in the spool
            folder = self._folder(blob.hash)
            folder.mkdir(parents=True, exist_ok=True)
            _link(Path(blob.spool), folder / f"{blob.hash}{blob.suffix}")

    def _restore(self, blob_hash: str) -> bool:
        if not _is_hash(blob_hash):
            return False
        file = _named(self.trash, blob_hash) or _named(self.tmp, blob_hash)
        if file is None:
            return False
        folder = self._folder(blob_hash)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            _link(file, folder / ".".join(file.name.split(".")[:2]))
        except FileNotFoundError:  # the sweeper lives and emptied its trash, or its owner settled it, just now
            return False
        return True

    def _folder(self, blob_hash: str) -> Path:
        return self.root / blob_hash[:2] / blob_hash[2:4]

    def _find(self, blob_hash: str) -> Path | None:
        return _named(self._folder(blob_hash), blob_hash) if _is_hash(blob_hash) else None

    async def _thread(self, fn: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._files, fn)
        except OSError as error:
            raise self._meant(error) from error

    def _meant(self, error: OSError) -> BaseException:
        meant = translate(error, str(self.root))
        return StorageError(f"{self.root}: {error}") if meant is error else meant


def _read_cached(path: Path, at_most: int) -> bytes | None:
    """A whole file, if it is short enough and reading it waits for no disk (Linux's RWF_NOWAIT); else None."""
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        size = os.fstat(handle).st_size
        buffer = bytearray(min(size, at_most))
        return bytes(buffer) if os.preadv(handle, (buffer,), 0, os.RWF_NOWAIT) == size else None
    except OSError:  # it is not in memory, or this file system cannot tell
        return None
    finally:
        os.close(handle)


def _is_hash(name: str) -> bool:
    return len(name) == 64 and name.isalnum()


def _is_hex(name: str) -> bool:
    return len(name) == 2 and set(name) <= _HEX


def _named(folder: Path, stem: str) -> Path | None:
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - names only, and this is on the path of every hit
            if name.startswith(stem):
                return folder / name
    except FileNotFoundError:
        pass
    return None


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A disk without hard links: copy beside the target, then rename.
        beside = target.with_name(f".{uuid.uuid4().hex}")
        with source.open("rb") as reader, beside.open("wb") as writer:
            shutil.copyfileobj(reader, writer)
            writer.flush()
            os.fsync(writer.fileno())
        beside.replace(target)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

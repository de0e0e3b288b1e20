"""The audio store: files named by the SHA-256 of their bytes, `aa/bb/HASH.ext` under one folder.

No row may refer to a missing file. So a put has this order: write a spool in the store's own `tmp`, rename it to its
hash, fsync it and `tmp`, link it to its final name (`put_file`); commit the row; then `settle`: restore the file if a
sweeper took it before the row was committed, fsync the folders of the final name, and only then remove the spool. After
a kill or power loss in between, a reader that misses the file finds the spool. The fsync of the folders (up to three on
a new store) comes after the commit, so that a caller does not wait for it. (obstore's local store does not fsync.)

Disks fail, and backups are restored in part. A file that is read whole is compared with its hash each time; a file that
is read in parts, once until it changes. A damaged file is moved to the folder `damaged`, for people to look at; after
that its blob is missing, and its text is spoken again when needed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, BinaryIO, TypeVar

from gateway.settings.logs import get_logger
from storage.errors import BlobMissing, StorageError, translate
from storage.files.integrity import Integrity, is_hash_of
from storage.files.paths import all_named, fsync_folder, is_hash, link, named, read_cached, walk
from storage.files.spools import Spools
from storage.records import BlobRecord

T = TypeVar("T")

_BLOCK = 1 << 20
_THREADS = 8
_SHORT_BYTES = 1 << 18
_LOOKS = 3
"""Attempts to find a file elsewhere (trash, spools) when it is damaged or a sweeper has moved it."""

log = get_logger("voxgate.storage")


class AudioStore:
    """Content-addressed audio in a folder; every method that touches the disk runs in a thread."""

    ASIDE = "damaged"
    """The folder of damaged files."""

    def __init__(self, root: Path, on_damage: Callable[[], None] = lambda: None) -> None:
        """Make the store's folder.

        Args:
            on_damage: called, in any thread, when a damaged file was found.

        Raises:
            StorageError: the folder cannot be made or written.
        """
        self.root = root
        self.tmp = root / "tmp"
        self.trash = root / "trash"
        self.aside = root / self.ASIDE
        self._on_damage = on_damage
        self._integrity = Integrity()
        self._spools = Spools(self.root / "owners")
        # Its own threads, so that a read does not wait for other work in asyncio's default executor.
        self._files = ThreadPoolExecutor(_THREADS, thread_name_prefix="voxgate-files")
        self._beside = ThreadPoolExecutor(2, thread_name_prefix="voxgate-fsync")
        self._sure: set[str] = set()
        """Folders, as `aa` and `aabb`, that were fsynced; at most 65,792."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.tmp.mkdir(exist_ok=True)
            self.trash.mkdir(exist_ok=True)
            fsync_folder(self.root)
        except OSError as error:
            raise self._meant(error) from error

    def new_spool(self) -> Path:
        """Return a unique path on the store's own disk, for a file to give to `put_file`."""
        return self.tmp / self._spools.new_name()

    async def ensure(self) -> None:
        """Check that the store's folder exists; make `tmp` and `trash` again if somebody deleted them.

        Raises:
            StorageError: the folder is missing. It is not made again: it may be a disk that is not mounted.
        """

        def ensure() -> None:
            self.tmp.mkdir(exist_ok=True)
            self.trash.mkdir(exist_ok=True)

        await self._thread(ensure)

    async def put_file(self, spool: Path, suffix: str) -> BlobRecord:
        """Store a spool's bytes durably; the spool is kept until `settle`.

        Args:
            spool: a finished file at a path from `new_spool`.
            suffix: with its dot, such as `.mp3`.

        Raises:
            StorageError: the disk is full or read-only; nothing refers to the bytes then.
        """
        return await self._thread(lambda: self._put(spool, suffix))

    async def put_many(self, pieces: Sequence[bytes], suffix: str) -> list[BlobRecord]:
        """As `put_file`, for pieces in memory; stores all of them, or raises."""
        return await self._thread(lambda: self._put_many(pieces, suffix))

    async def settle(self, *blobs: BlobRecord) -> None:
        """Finish a put after the blobs' rows are committed: restore files that a sweeper took, remove the spools."""
        await self._thread(lambda: self._settle(blobs))

    async def path(self, blob_hash: str) -> Path:
        """Return the path of a blob's file. Open it at once: the file is removed when the blob is deleted.

        Raises:
            BlobMissing: the file is missing or damaged.
        """
        return (await self.file(blob_hash))[0]

    async def file(self, blob_hash: str) -> tuple[Path, int]:
        """As `path`, with the file's size in bytes."""

        def file() -> tuple[Path, int]:
            with self._sound(blob_hash) as opened:
                return Path(opened.name), os.fstat(opened.fileno()).st_size

        return await self._thread(file)

    async def open(self, blob_hash: str) -> BinaryIO:
        """Open a blob's file for reading; it stays readable after its deletion. Raises BlobMissing."""
        return await self._thread(lambda: self._sound(blob_hash))

    async def read(self, blob_hash: str) -> bytes:
        """Return a blob's bytes. Raises BlobMissing."""
        return await self._thread(lambda: self._whole(blob_hash))

    async def read_base64(self, blob_hash: str, suffix: str, at_most: int) -> bytes | None:
        """Return a blob as base64; None if it has more than `at_most` bytes. Raises BlobMissing.

        A short blob in the system's cache is read on the event loop, any other in a thread.
        """
        data = read_cached(self.where(blob_hash, suffix), min(at_most, _SHORT_BYTES))
        if data is not None and is_hash_of(data, blob_hash):
            return base64.b64encode(data)

        def read() -> bytes | None:
            with self._opened(blob_hash) as file:
                short = os.fstat(file.fileno()).st_size <= at_most
            if short:
                return base64.b64encode(self._whole(blob_hash))
            self._sound(blob_hash).close()
            return None

        return await self._thread(read)

    def prove(self, blob_hash: str) -> None:
        """Check the hash of a blob's file in the calling thread; a damaged file is not moved, a missing one is ignored.

        Raises:
            BlobMissing: the file holds other bytes.
        """
        with contextlib.suppress(FileNotFoundError):
            found = self._find(blob_hash)
            if found is not None:
                with found.open("rb") as file:
                    if not self._integrity.holds(file, blob_hash):
                        raise BlobMissing(blob_hash)

    def locate(self, blob_hash: str) -> Path:
        """As `path`, in the calling thread and without the hash check. Restores a file that a killed sweeper left in
        the trash.

        Raises:
            BlobMissing: there is no file.
        """
        found = self._find(blob_hash)
        if found is None:
            self._restore(blob_hash)
            found = self._find(blob_hash)  # also where it was a sweeper that put it back, between our two looks
        if found is None:
            raise BlobMissing(blob_hash)
        return found

    def _opened(self, blob_hash: str) -> BinaryIO:
        """As `locate`, opened. A sweeper may move the file in between and put it back, so this tries again."""
        for _ in range(_LOOKS):
            with contextlib.suppress(FileNotFoundError):
                return self.locate(blob_hash).open("rb")
        raise BlobMissing(blob_hash)

    def _sound(self, blob_hash: str) -> BinaryIO:
        """As `_opened`, after a hash check; a damaged file is moved aside, and its spool or trash is tried."""
        for _ in range(_LOOKS):
            file = self._opened(blob_hash)
            if self._integrity.holds(file, blob_hash):
                return file
            with file:
                self._set_aside(file, blob_hash)
        raise BlobMissing(blob_hash)

    def _whole(self, blob_hash: str) -> bytes:
        """Return the bytes of a file after a hash check."""
        for _ in range(_LOOKS):
            with self._opened(blob_hash) as file:
                data = file.read()
                if is_hash_of(data, blob_hash):
                    return data
                self._set_aside(file, blob_hash)
        raise BlobMissing(blob_hash)

    def _set_aside(self, file: BinaryIO, blob_hash: str) -> None:
        """Move a damaged file to `aside` and log it, unless another file has taken its place already.

        Raises:
            BlobMissing: the file cannot be moved.
        """
        path = Path(file.name)
        found = os.fstat(file.fileno())
        try:
            if not os.path.samestat(path.stat(), found):
                return
            self.aside.mkdir(exist_ok=True)
            path.replace(self.aside / path.name)
        except FileNotFoundError:
            return  # another thread or server has moved it
        except OSError as error:  # a read-only disk
            log.error("storage_damaged", blob=blob_hash, size_bytes=found.st_size, moved_to=None, reason=str(error))
            self._on_damage()
            raise BlobMissing(blob_hash) from error
        log.error("storage_damaged", blob=blob_hash, size_bytes=found.st_size, moved_to=f"{self.ASIDE}/{path.name}")
        self._on_damage()

    def where(self, blob_hash: str, suffix: str) -> Path:
        """Return the path that a blob's file has if it exists; does not access the disk."""
        return self._folder(blob_hash) / f"{blob_hash}{suffix}"

    def aside_names(self) -> list[str]:
        """List the names of the damaged files that were moved aside, in the calling thread."""
        return sorted(file.name for file in self.aside.iterdir()) if self.aside.is_dir() else []

    def bury(self, blobs: Iterable[tuple[str, str]]) -> list[str]:
        """Move files of blobs (hash, suffix) to the trash, in the calling thread; returns their new paths.

        Each gets a name that no file had before. A sweep that looked for the rows of files in the trash then never
        removes a file that was moved there after its look.
        """
        # Paths are strings here: building `Path`s takes as long as the moves, and blocks other threads.
        root, trash, end = str(self.root), str(self.trash), uuid.uuid4().hex
        moved = []
        for blob_hash, suffix in blobs:
            target = f"{trash}/{blob_hash}{suffix}.{end}"
            try:
                os.replace(f"{root}/{blob_hash[:2]}/{blob_hash[2:4]}/{blob_hash}{suffix}", target)  # noqa: PTH105
            except FileNotFoundError:
                found = self._find(blob_hash)  # stored with another suffix
                if found is None:
                    continue
                target = f"{trash}/{found.name}.{end}"
                try:
                    found.replace(target)
                except FileNotFoundError:  # another server has buried it
                    continue
            moved.append(target)
        return moved

    def left_behind(self, is_old: Callable[[Path], bool]) -> list[Path]:
        """List abandoned spools, in the calling thread: those of ended processes, and old ones without a known
        owner."""
        return self._spools.left_behind(self.tmp.iterdir(), is_old)

    def clear(self, files: Sequence[str], rows: set[str]) -> tuple[int, int]:
        """Remove files of the trash or of `tmp`, in the calling thread; first restores those in `rows` without a file.

        Returns:
            The number of removed files, and of restored files.
        """
        restored = 0
        for file in files:
            blob_hash = self.hash_of(file)
            if blob_hash in rows and self._find(blob_hash) is None:
                restored += self._restore(blob_hash, Path(file))
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)  # noqa: PTH108 - a string, as in `bury`
        return len(files), restored

    @staticmethod
    def hash_of(file: str | Path) -> str:
        """Return the hash of the blob in a file of the trash or of `tmp`; "" for a spool that is being written."""
        return os.path.basename(file).partition(".")[0]  # noqa: PTH119 - a string, as in `bury`

    def walk(self, after: str, at_least: int) -> tuple[list[Path], str]:
        """As `paths.walk`, for this store, in the calling thread."""
        return walk(self.root, after, at_least)

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
        """Fsync spools and their folder at the same time: a disk takes hardly longer for two than for one."""
        names = self._beside.submit(fsync_folder, self.tmp)
        try:
            for spool in spools:
                os.fsync(spool.fileno())
        finally:
            names.result()

    def _hold(self, spool: Path, digest: str, size: int, suffix: str) -> BlobRecord:
        """Rename a spool to the hash of its bytes, so that a sweeper can identify it."""
        held = spool.replace(self.tmp / f"{digest}{suffix}.{self._spools.new_name()}")
        return BlobRecord(hash=digest, size_bytes=size, suffix=suffix, spool=str(held))

    def _settle(self, blobs: Sequence[BlobRecord]) -> None:
        held = [blob for blob in blobs if blob.spool]
        self._publish([blob for blob in held if self._find(blob.hash) is None])
        self._make_sure([blob.hash for blob in held])
        for blob in held:
            Path(blob.spool).unlink(missing_ok=True)

    def _make_sure(self, hashes: Sequence[str]) -> None:
        """Fsync the folders of files and the folders above them; each new folder once, the innermost first."""
        new = {name for each in hashes for name in (each[:2], each[:4])} - self._sure
        folders = {self._folder(each) for each in hashes}
        folders |= {self.root if len(name) == 2 else self.root / name[:2] for name in new}
        for folder in sorted(folders, key=lambda path: -len(path.parts)):
            fsync_folder(folder)
        self._sure |= new

    def _publish(self, blobs: Sequence[BlobRecord]) -> None:
        """Link every blob's spool to its final name."""
        for blob in blobs:
            existing = self._find(blob.hash)
            if existing is not None:
                with contextlib.suppress(FileNotFoundError), existing.open("rb") as file:  # a sweeper may take it now
                    if self._integrity.holds(file, blob.hash):
                        continue
                    self._set_aside(file, blob.hash)  # damaged; the spool holds the right bytes
            folder = self._folder(blob.hash)
            folder.mkdir(parents=True, exist_ok=True)
            link(Path(blob.spool), folder / f"{blob.hash}{blob.suffix}")

    def _restore(self, blob_hash: str, *first: Path) -> bool:
        """Link a missing file of a blob into its place, from `first`, the trash or the spools; False if none has it."""
        if not is_hash(blob_hash):
            return False
        folder = self._folder(blob_hash)
        for file in itertools.chain(first, all_named(self.trash, blob_hash), all_named(self.tmp, blob_hash)):
            folder.mkdir(parents=True, exist_ok=True)
            # Each may go meanwhile: another sweeper empties the trash, its owner settles a spool.
            with contextlib.suppress(FileNotFoundError):
                link(file, folder / ".".join(file.name.split(".")[:2]))
                return True
        return False

    def _folder(self, blob_hash: str) -> Path:
        return self.root / blob_hash[:2] / blob_hash[2:4]

    def _find(self, blob_hash: str) -> Path | None:
        return named(self._folder(blob_hash), blob_hash) if is_hash(blob_hash) else None

    async def _thread(self, fn: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._files, fn)
        except OSError as error:
            raise self._meant(error) from error

    def _meant(self, error: OSError) -> BaseException:
        meant = translate(error, str(self.root))
        return StorageError(f"{self.root}: {error}") if meant is error else meant

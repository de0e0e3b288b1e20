"""The audio store: files named by the SHA-256 of their bytes, `aa/bb/HASH.ext` under one folder.

The order that makes "no row points at a missing file" hold: write a spool in the store's own `tmp`, name it by its
hash, fsync it and `tmp`, link it to its final name (`put_file`); commit the row; then `settle`, which makes sure that
no sweeper took the file before the row was there, fsyncs the final name's folders, and only then drops the spool. If
we are killed in between, or the power goes, whoever misses the file finds the spool. Nobody who waits for a result
waits for the folders: on a new store they are three. (obstore's local store does not fsync.)

Disks rot, and backups are restored by halves. A file that is read whole is compared with its name each time, one that
is read in parts once as long as it does not change. One that holds other bytes is moved to the folder `damaged`, where
people may look at it; its blob is missing from then on, and whoever needs it speaks again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, BinaryIO, TypeVar

from gateway.settings.logs import get_logger
from storage.errors import BlobMissing, StorageError, translate
from storage.files.integrity import Integrity, is_hash_of
from storage.files.paths import fsync_folder, is_hash, link, named, read_cached, walk
from storage.files.spools import Spools
from storage.records import BlobRecord

T = TypeVar("T")

_BLOCK = 1 << 20
_THREADS = 8
_SHORT_BYTES = 1 << 18
_LOOKS = 3
"""How often a damaged file is looked for elsewhere: in the trash, among the spools."""

log = get_logger("voxgate.storage")


class AudioStore:
    """Content-addressed audio in a folder; every method that touches the disk runs in a thread."""

    ASIDE = "damaged"
    """The folder of files that do not hold what their names say."""

    def __init__(self, root: Path, on_damage: Callable[[], None] = lambda: None) -> None:
        """Make the folder.

        Args:
            on_damage: called, in any thread, when a file was found that does not hold what its name says.

        Raises:
            StorageError: it cannot be made or written.
        """
        self.root = root
        self.tmp = root / "tmp"
        self.trash = root / "trash"
        self.aside = root / self.ASIDE
        self._on_damage = on_damage
        self._integrity = Integrity()
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
            fsync_folder(self.root)
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
            BlobMissing: there is none, or it is damaged.
        """
        return (await self.file(blob_hash))[0]

    async def file(self, blob_hash: str) -> tuple[Path, int]:
        """As `path`, with the file's size in bytes."""

        def file() -> tuple[Path, int]:
            with self._sound(blob_hash) as opened:
                return Path(opened.name), os.fstat(opened.fileno()).st_size

        return await self._thread(file)

    async def open(self, blob_hash: str) -> BinaryIO:
        """A blob's file, open for reading; stays readable when it is deleted. Raises BlobMissing."""
        return await self._thread(lambda: self._sound(blob_hash))

    async def read(self, blob_hash: str) -> bytes:
        """A blob's bytes. Raises BlobMissing."""
        return await self._thread(lambda: self._whole(blob_hash))

    async def read_base64(self, blob_hash: str, suffix: str, at_most: int) -> bytes | None:
        """A blob as base64; None when it has more than `at_most` bytes. Raises BlobMissing.

        A short one that the system has in its memory is read where one stands, everything else in a thread.
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

    async def size(self, blob_hash: str) -> int:
        """A blob's size in bytes. Raises BlobMissing."""
        return (await self.file(blob_hash))[1]

    def prove(self, blob_hash: str) -> None:
        """Read a blob's file, in the calling thread, and leave it where it is. One that is not there proves nothing.

        Raises:
            BlobMissing: it holds other bytes.
        """
        with contextlib.suppress(FileNotFoundError):
            found = self._find(blob_hash)
            if found is not None:
                with found.open("rb") as file:
                    if not self._integrity.holds(file, blob_hash):
                        raise BlobMissing(blob_hash)

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

    def _sound(self, blob_hash: str) -> BinaryIO:
        """As `_opened`, if it holds what its name says; else it is moved aside, and its spool is looked at."""
        for _ in range(_LOOKS):
            file = self._opened(blob_hash)
            if self._integrity.holds(file, blob_hash):
                return file
            with file:
                self._set_aside(file, blob_hash)
        raise BlobMissing(blob_hash)

    def _whole(self, blob_hash: str) -> bytes:
        """The bytes of a file, compared with its name each time."""
        for _ in range(_LOOKS):
            with self._opened(blob_hash) as file:
                data = file.read()
                if is_hash_of(data, blob_hash):
                    return data
                self._set_aside(file, blob_hash)
        raise BlobMissing(blob_hash)

    def _set_aside(self, file: BinaryIO, blob_hash: str) -> None:
        """Move a damaged file out of the way, unless another one is in its place already, and say so.

        Raises:
            BlobMissing: it cannot be moved.
        """
        path = Path(file.name)
        found = os.fstat(file.fileno())
        try:
            if not os.path.samestat(path.stat(), found):
                return
            self.aside.mkdir(exist_ok=True)
            path.replace(self.aside / path.name)
        except FileNotFoundError:
            return  # somebody else has moved it
        except OSError as error:  # a disk that cannot be written
            log.error("storage_damaged", blob=blob_hash, size_bytes=found.st_size, moved_to=None, reason=str(error))
            self._on_damage()
            raise BlobMissing(blob_hash) from error
        log.error("storage_damaged", blob=blob_hash, size_bytes=found.st_size, moved_to=f"{self.ASIDE}/{path.name}")
        self._on_damage()

    def where(self, blob_hash: str, suffix: str) -> Path:
        """Where a blob's file lies if it is there; asks no disk."""
        return self._folder(blob_hash) / f"{blob_hash}{suffix}"

    def aside_names(self) -> list[str]:
        """The names of the damaged files that were moved aside, in the calling thread."""
        return sorted(file.name for file in self.aside.iterdir()) if self.aside.is_dir() else []

    def bury(self, blobs: Iterable[tuple[str, str]]) -> list[Path]:
        """Move files of blobs (hash, suffix) to the trash, in the calling thread; gives where they lie now."""
        moved = []
        for blob_hash, suffix in blobs:
            target = self.trash / f"{blob_hash}{suffix}"
            try:
                self.where(blob_hash, suffix).replace(target)
            except FileNotFoundError:
                found = self._find(blob_hash)  # it was put under another suffix
                if found is None:
                    continue
                target = self.trash / found.name
                with contextlib.suppress(FileNotFoundError):  # another server buries it, too
                    found.replace(target)
            moved.append(target)
        return moved

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

    def walk(self, after: str, at_least: int) -> tuple[list[Path], str]:
        """As `files.walk`, of this store, in the calling thread."""
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
        """Spools and their names: both at once, since a disk takes hardly longer for two than for one."""
        names = self._beside.submit(fsync_folder, self.tmp)
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
            fsync_folder(folder)
        self._sure |= new

    def _publish(self, blobs: Sequence[BlobRecord]) -> None:
        """Give every blob its place."""
        for blob in blobs:
            existing = self._find(blob.hash)
            if existing is not None:
                with contextlib.suppress(FileNotFoundError), existing.open("rb") as file:  # a sweeper may take it now
                    if self._integrity.holds(file, blob.hash):
                        continue
                    self._set_aside(file, blob.hash)  # a disk that lied; the good bytes are in the spool
            folder = self._folder(blob.hash)
            folder.mkdir(parents=True, exist_ok=True)
            link(Path(blob.spool), folder / f"{blob.hash}{blob.suffix}")

    def _restore(self, blob_hash: str) -> bool:
        if not is_hash(blob_hash):
            return False
        file = named(self.trash, blob_hash) or named(self.tmp, blob_hash)
        if file is None:
            return False
        folder = self._folder(blob_hash)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            link(file, folder / ".".join(file.name.split(".")[:2]))
        except FileNotFoundError:  # the sweeper lives and emptied its trash, or its owner settled it, just now
            return False
        return True

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

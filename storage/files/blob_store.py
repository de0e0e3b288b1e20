"""The blob store: files named by the SHA-256 of their bytes, `aa/bb/HASH.ext` under one folder.

Disks fail, and backups are restored in part. A file that is read whole is compared with its hash each time; a file that
is read in parts, once until it changes. A damaged file is moved to the folder `damaged`, for people to look at; after
that its blob is missing, and its text is spoken again when needed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from gateway.settings.logs import get_logger
from storage.errors import BlobMissing
from storage.files.integrity import Integrity, is_hash_of
from storage.files.paths import all_named, fsync_folder, is_hash

ASIDE = "damaged"
"""The folder of damaged files."""

_LOOKS = 3
"""Attempts to find a file that a sweeper or a put is moving."""

log = get_logger("voxgate.storage")


class BlobStore:
    """Finds, reads and moves files by hash; every method works in the calling thread.

    Args:
        root: the folder of the store.
        arriving: names files outside of the store that hold a blob which is not in its place yet.
        on_damage: called when a damaged file was found.
    """

    def __init__(
        self,
        root: Path,
        arriving: Callable[[str], Iterable[Path]] = lambda blob_hash: (),
        on_damage: Callable[[], None] = lambda: None,
    ) -> None:
        self.root = root
        self.trash = root / "trash"
        self.aside = root / ASIDE
        self._arriving = arriving
        self._on_damage = on_damage
        self._integrity = Integrity()
        self._made: set[str] = set()
        """Folders, as `aabb`, whose names are on the disk; at most 65,536."""

    def where(self, blob_hash: str, suffix: str) -> Path:
        """Return the path that a blob's file has if it exists; does not access the disk."""
        return self._folder(blob_hash) / f"{blob_hash}{suffix}"

    def adopt(self, file: Path, blob_hash: str, suffix: str) -> Path:
        """Move a file of the same disk into its place, durably; it replaces the present one. Returns its new path.

        Raises:
            FileNotFoundError: there is no such file.
        """
        folder = self._folder(blob_hash)
        folder.mkdir(parents=True, exist_ok=True)
        if folder.parent.name + folder.name not in self._made:
            # Before the move: after a power cut the file has its old name or its new one.
            fsync_folder(folder.parent)
            fsync_folder(self.root)
            self._made.add(folder.parent.name + folder.name)
        place = file.replace(self.find(blob_hash) or folder / f"{blob_hash}{suffix}")
        fsync_folder(folder)
        return place

    # -- reading

    def find(self, blob_hash: str) -> Path | None:
        """Return the path of the file that is in its place; None if there is none."""
        return next(all_named(self._folder(blob_hash), blob_hash), None) if is_hash(blob_hash) else None

    def locate(self, blob_hash: str) -> Path:
        """Return the path of a blob's file, without a hash check: in its place, in the trash, or still arriving.

        Raises:
            BlobMissing: there is no file.
        """
        for path in self._copies(blob_hash):
            return path
        raise BlobMissing(blob_hash)

    def opened(self, blob_hash: str) -> BinaryIO:
        """Open a blob's file without a hash check; it stays readable after its deletion. Raises BlobMissing."""
        for _ in range(_LOOKS):
            for path in self._copies(blob_hash):
                with contextlib.suppress(FileNotFoundError):
                    return path.open("rb")
        raise BlobMissing(blob_hash)

    def sound(self, blob_hash: str) -> BinaryIO:
        """As `opened`, after a hash check; a damaged file is moved aside, and another copy is tried."""
        for _ in range(_LOOKS):
            file = self.opened(blob_hash)
            if self._integrity.holds(file, blob_hash):
                return file
            with file:
                self._set_aside(file, blob_hash)
        raise BlobMissing(blob_hash)

    def read(self, blob_hash: str) -> bytes:
        """Return a blob's bytes after a hash check. Raises BlobMissing."""
        for _ in range(_LOOKS):
            with self.opened(blob_hash) as file:
                data = file.read()
                if is_hash_of(data, blob_hash):
                    return data
                self._set_aside(file, blob_hash)
        raise BlobMissing(blob_hash)

    @contextlib.contextmanager
    def local(self, blob_hash: str) -> Iterator[Path]:
        """Give the path of a file on this machine with a blob's bytes, inside the block. Raises BlobMissing."""
        with contextlib.ExitStack() as held:
            path = Path((file := held.enter_context(self.sound(blob_hash))).name)
            if path != self.find(blob_hash):  # a put or a sweeper is about to move it
                copy = held.enter_context(tempfile.NamedTemporaryFile())
                shutil.copyfileobj(file, copy)
                copy.flush()
                path = Path(copy.name)
            yield path

    def prove(self, blob_hash: str) -> None:
        """Check the hash of a blob's file; a damaged file is not moved, a missing one is ignored.

        Raises:
            BlobMissing: the file holds other bytes.
        """
        found = self.find(blob_hash)
        if found is not None:
            with contextlib.suppress(FileNotFoundError), found.open("rb") as file:
                if not self._integrity.holds(file, blob_hash):
                    raise BlobMissing(blob_hash)

    def aside_names(self) -> list[str]:
        """List the names of the damaged files that were moved aside."""
        return sorted(file.name for file in self.aside.iterdir()) if self.aside.is_dir() else []

    # -- sweeping

    def bury(self, blobs: Iterable[tuple[str, str]]) -> list[str]:
        """Move files of blobs (hash, suffix) to the trash; returns their new paths.

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
                found = self.find(blob_hash)  # stored with another suffix
                if found is None:
                    continue
                target = f"{trash}/{found.name}.{end}"
                try:
                    found.replace(target)
                except FileNotFoundError:  # another server has buried it
                    continue
            moved.append(target)
        return moved

    def clear(self, files: Sequence[str], rows: set[str]) -> tuple[int, int]:
        """Remove files of the trash or abandoned spools; one whose blob is in `rows` and has no file is put back.

        Returns:
            The number of removed files, and of those put back.
        """
        restored = 0
        for file in files:
            blob_hash = self.hash_of(file)
            with contextlib.suppress(FileNotFoundError):  # another server has cleared it
                if blob_hash in rows and self.find(blob_hash) is None:
                    self.adopt(Path(file), blob_hash, Path(Path(file).stem).suffix)
                    restored += 1
                else:
                    os.unlink(file)  # noqa: PTH108 - a string, as in `bury`
        return len(files), restored

    @staticmethod
    def hash_of(file: str | Path) -> str:
        """Return the hash of the blob in a file of the trash or a spool; "" for a spool that is being written."""
        return os.path.basename(file).partition(".")[0]  # noqa: PTH119 - a string, as in `bury`

    # -- inside

    def _copies(self, blob_hash: str) -> Iterator[Path]:
        """Yield the files that may hold a blob. A killed sweep leaves one in the trash, a killed put where it was."""
        if is_hash(blob_hash):
            yield from all_named(self._folder(blob_hash), blob_hash)
            yield from all_named(self.trash, blob_hash)
            yield from self._arriving(blob_hash)

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
        log.error("storage_damaged", blob=blob_hash, size_bytes=found.st_size, moved_to=f"{ASIDE}/{path.name}")
        self._on_damage()

    def _folder(self, blob_hash: str) -> Path:
        return self.root / blob_hash[:2] / blob_hash[2:4]

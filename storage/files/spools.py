"""Spools: files on this machine's disk that are being written, or wait for the row of their blob.

They are named by their owner, so that spools of a killed server are removed at once and those of a live one stay.

A process that makes spools holds a lock on its own folder; the system releases the lock when the process ends, however
it ends. Each spool has the folder's name in its name. A spool whose owner's lock is free will never be finished; any
server, in any container, can check that. If folders cannot be locked (NFS), the age of the spool decides.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from storage.files.paths import all_named, fsync_folder
from storage.records import BlobRecord

_ours: set[str] = set()
"""The owners of this process; their locks are not tried."""


class Spools:
    """The spools of one store.

    Args:
        root: the folder that holds the folder of the spools, and the owners' folders; those are made at first use.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "tmp"
        self._owners = root / "owners"
        self._owner: str | None = None
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="voxgate-fsync")

    def new(self) -> Path:
        """Return a unique path for a new spool."""
        return self.folder / self._new_name()

    def hold(self, spool: Path, blob_hash: str, size_bytes: int, suffix: str) -> BlobRecord:
        """Rename a finished spool to the hash of its bytes, so that a reader who misses the blob finds it."""
        held = spool.replace(self.folder / f"{blob_hash}{suffix}.{self._new_name()}")
        return BlobRecord(hash=blob_hash, size_bytes=size_bytes, suffix=suffix, spool=str(held))

    def of(self, blob_hash: str) -> Iterator[Path]:
        """Yield the spools that hold this blob."""
        return all_named(self.folder, blob_hash)

    def make_durable(self, spools: Sequence[IO[bytes]]) -> None:
        """Fsync spools and their folder at the same time: a disk takes hardly longer for two than for one."""
        names = self._beside.submit(fsync_folder, self.folder)
        try:
            for spool in spools:
                os.fsync(spool.fileno())
        finally:
            names.result()

    def left_behind(self, is_old: Callable[[Path], bool]) -> list[Path]:
        """List spools whose owner has ended, and old ones without a known owner. Removes the folders of ended owners
        that have no spools left."""
        ended, living = set[str](), set[str]()
        for owner in self._all():
            (ended if self._has_ended(owner) else living).add(owner)
        owned = [(file, _owner_of(file)) for file in self.folder.iterdir()]
        for owner in ended - {owner for _, owner in owned}:
            with contextlib.suppress(OSError):  # another server removed it first
                (self._owners / owner).rmdir()
        return [file for file, owner in owned if owner in ended or (owner not in living and is_old(file))]

    def _new_name(self) -> str:
        """Return a unique name without a dot."""
        if self._owner is None:
            self._owner = self._own()
        return f"{self._owner}-{uuid.uuid4().hex}"

    def _own(self) -> str:
        """Take a lock until this process ends; returns its name, or "none" if folders cannot be locked."""
        owner = uuid.uuid4().hex[:12]
        draft = self._owners / f".{owner}"
        try:
            self._owners.mkdir(exist_ok=True)  # without parents: they may be on a disk that is not mounted
            draft.mkdir()
            handle = os.open(draft, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.rename(self._owners / owner)  # renamed last, so that it is never seen without its lock
            except OSError:
                os.close(handle)
                draft.rmdir()
                raise
        except OSError:
            return "none"
        _ours.add(owner)
        return owner

    def _all(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return [path.name for path in self._owners.iterdir() if path.name[0] != "." and path.name not in _ours]
        return []

    def _has_ended(self, owner: str) -> bool:
        """Return whether the owner's lock is free; a lock that cannot be tried counts as held."""
        try:
            handle = os.open(self._owners / owner, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(handle)
        return True


def _owner_of(spool: Path) -> str:
    return spool.name.rpartition(".")[2].partition("-")[0]

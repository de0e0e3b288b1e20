"""What can go wrong with the database or the audio store, each with its cure."""

from __future__ import annotations

import errno
import sqlite3
from typing import ClassVar

from sqlalchemy.exc import DBAPIError

from gateway.errors import Conflict


class StorageError(Exception):
    """The database or the audio store failed. The message names the place and the cure, never what was stored."""

    code: ClassVar[str] = "storage_failed"


class StorageFull(StorageError):
    """No room left; nothing was accepted."""

    code = "storage_full"


class StorageReadOnly(StorageError):
    """The place cannot be written."""

    code = "storage_read_only"


class StorageLocked(StorageError):
    """Another process held the database for longer than the busy timeout."""

    code = "storage_locked"


class BlobMissing(StorageError):
    """Audio is referred to and its file is gone."""

    code = "blob_missing"

    def __init__(self, blob_hash: str) -> None:
        super().__init__(f"audio {blob_hash} is not in the store: it was deleted or its folder was changed")
        self.blob_hash = blob_hash


class IdempotencyConflict(Conflict):
    """An idempotency key came again with another body."""

    def __init__(self, key: str, job_id: str) -> None:
        super().__init__(f"Idempotency-Key {key!r} was used with another body (job {job_id}): use a new key")
        self.job_id = job_id


_FULL = "no space left for {place}: free some, or move it with VOXGATE_DATA_DIR"
_READ_ONLY = "{place} cannot be written: make it writable for this user, or choose another with VOXGATE_DATA_DIR"
_LOCKED = (
    "{place} is locked by another process: stop what holds it (a backup, a shell, a second server), then try again"
)

_BY_ERRNO: dict[int, tuple[type[StorageError], str]] = {
    errno.ENOSPC: (StorageFull, _FULL),
    errno.EDQUOT: (StorageFull, _FULL),
    errno.EFBIG: (StorageFull, _FULL),
    errno.EROFS: (StorageReadOnly, _READ_ONLY),
    errno.EACCES: (StorageReadOnly, _READ_ONLY),
    errno.EPERM: (StorageReadOnly, _READ_ONLY),
}
_BY_SQLITE: dict[int, tuple[type[StorageError], str]] = {
    sqlite3.SQLITE_FULL: (StorageFull, _FULL),
    sqlite3.SQLITE_READONLY: (StorageReadOnly, _READ_ONLY),
    sqlite3.SQLITE_CANTOPEN: (StorageReadOnly, _READ_ONLY),
    sqlite3.SQLITE_PERM: (StorageReadOnly, _READ_ONLY),
    sqlite3.SQLITE_BUSY: (StorageLocked, _LOCKED),
    sqlite3.SQLITE_LOCKED: (StorageLocked, _LOCKED),
}
_BY_SQLSTATE: dict[str, tuple[type[StorageError], str]] = {
    "53100": (StorageFull, _FULL),
    "25006": (StorageReadOnly, _READ_ONLY),
    "55P03": (StorageLocked, _LOCKED),
    "40P01": (StorageLocked, _LOCKED),
}


def translate(error: BaseException, place: str) -> BaseException:
    """The storage error that says what `error` means at `place` (a path or a database), or `error` itself."""
    found: tuple[type[StorageError], str] | None = None
    if isinstance(error, OSError) and error.errno is not None:
        found = _BY_ERRNO.get(error.errno)
    elif isinstance(error, DBAPIError):
        cause = error.orig
        if isinstance(cause, sqlite3.Error):
            # A write past a quota or a file-size limit reaches us as an I/O error of a write, not as SQLITE_FULL.
            code = getattr(cause, "sqlite_errorcode", 0)
            full = code == sqlite3.SQLITE_IOERR_WRITE
            found = _BY_SQLITE.get(sqlite3.SQLITE_FULL if full else code & 0xFF)
        else:
            found = _BY_SQLSTATE.get(str(getattr(cause, "sqlstate", "")))
    if found is None:
        return error
    kind, message = found
    return kind(message.format(place=place))

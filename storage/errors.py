"""The errors of the database and the audio store, each with its cure."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.errors import Conflict


class StorageError(Exception):
    """The database or the audio store failed. The message names the place and the cure, never stored content."""

    code: ClassVar[str] = "storage_failed"


class StorageFull(StorageError):
    """No space is left; nothing was accepted."""

    code = "storage_full"


class StorageReadOnly(StorageError):
    """The database or folder cannot be written."""

    code = "storage_read_only"


class StorageLocked(StorageError):
    """Another process locked the database for longer than the busy timeout."""

    code = "storage_locked"


class StorageGone(StorageError):
    """A folder or the database file has disappeared, or its disk does not answer."""

    code = "storage_gone"


class StorageOutOfHandles(StorageError):
    """This process, or the machine, has reached its limit of open files and connections."""

    code = "storage_out_of_handles"


class StorageDamaged(StorageError):
    """The database file is broken, or is not a database."""

    code = "storage_damaged"


class StorageUnavailable(StorageError):
    """PostgreSQL cannot be used: it is starting, is not reachable, or has not been migrated."""

    code = "storage_unavailable"


class BlobMissing(StorageError):
    """The file of a blob is missing or damaged although a row refers to it."""

    code = "blob_missing"

    def __init__(self, blob_hash: str) -> None:
        super().__init__(
            f"audio {blob_hash} is not in the store: it was deleted, its folder was changed, or its disk damaged it"
        )
        self.blob_hash = blob_hash


class IdempotencyConflict(Conflict):
    """An idempotency key was sent again with another body."""

    def __init__(self, key: str, job_id: str) -> None:
        super().__init__(f"Idempotency-Key {key!r} was used with another body (job {job_id}): use a new key")
        self.job_id = job_id


_FULL = "no space left for {place}: free some, or move it with VOXGATE_DATA_DIR"
_READ_ONLY = "{place} cannot be written: make it writable for this user, or choose another with VOXGATE_DATA_DIR"
_LOCKED = "{place} is locked by another process (a backup, a shell, a second server): stop that process, then try again"
_GONE = "{place} cannot be used ({reason}): mount it again or repair its disk, or choose another with VOXGATE_DATA_DIR"
_NO_HANDLES = (
    "{place} cannot be opened ({reason}): the limit of open files and connections is reached; raise it "
    "(ulimit -n, LimitNOFILE) or send fewer requests at once"
)
_DAMAGED = (
    "{place} is damaged, or not a voxgate database ({reason}): stop every server, put a backup (voxgate.db.*.bak "
    "beside it) in its place, then start"
)
_REPLACED = (
    "{place} was removed or replaced while this server had it open: put it back, or stop the server, put a backup in "
    "its place, then start"
)

_BY_ERRNO: dict[int, tuple[type[StorageError], str]] = {
    errno.ENOSPC: (StorageFull, _FULL),
    errno.EDQUOT: (StorageFull, _FULL),
    errno.EFBIG: (StorageFull, _FULL),
    errno.EROFS: (StorageReadOnly, _READ_ONLY),
    errno.EACCES: (StorageReadOnly, _READ_ONLY),
    errno.EPERM: (StorageReadOnly, _READ_ONLY),
    errno.EMFILE: (StorageOutOfHandles, _NO_HANDLES),
    errno.ENFILE: (StorageOutOfHandles, _NO_HANDLES),
} | dict.fromkeys(
    (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.EIO, errno.ENXIO, errno.ENODEV),
    (StorageGone, _GONE),
)
_BY_SQLITE: dict[int, tuple[type[StorageError], str]] = {
    sqlite3.SQLITE_FULL: (StorageFull, _FULL),
    sqlite3.SQLITE_READONLY: (StorageReadOnly, _READ_ONLY),
    sqlite3.SQLITE_CANTOPEN: (StorageReadOnly, _READ_ONLY),
    sqlite3.SQLITE_PERM: (StorageReadOnly, _READ_ONLY),
    sqlite3.SQLITE_BUSY: (StorageLocked, _LOCKED),
    sqlite3.SQLITE_LOCKED: (StorageLocked, _LOCKED),
    sqlite3.SQLITE_CORRUPT: (StorageDamaged, _DAMAGED),
    sqlite3.SQLITE_NOTADB: (StorageDamaged, _DAMAGED),
    sqlite3.SQLITE_IOERR: (StorageGone, _GONE),
}
_PG_FULL = "no space left for {place}: free some on the disk of PostgreSQL"
_PG_READ_ONLY = "{place} is read-only (a standby, or set so): name the primary in VOXGATE_DATABASE__URL"
_PG_RIGHTS = "{place} denies this user a permission: name the owner of voxgate's tables in VOXGATE_DATABASE__URL"
_PG_LOCKED = "{place} is locked by another session (a migration, a shell): end that session, then try again"
_PG_SCHEMA = "{place} lacks the tables of this release; run: voxgate db upgrade"
_PG_AWAY = "{place} does not answer ({reason}): start PostgreSQL, or correct VOXGATE_DATABASE__URL"

_BY_SQLSTATE: dict[str, tuple[type[StorageError], str]] = {
    "53100": (StorageFull, _PG_FULL),
    "25006": (StorageReadOnly, _PG_READ_ONLY),
    "42501": (StorageReadOnly, _PG_RIGHTS),
    "55P03": (StorageLocked, _PG_LOCKED),
    "40P01": (StorageLocked, _PG_LOCKED),
    "40001": (StorageLocked, _PG_LOCKED),
    "57014": (StorageLocked, _PG_LOCKED),  # statement_timeout
    "42P01": (StorageUnavailable, _PG_SCHEMA),
    "42703": (StorageUnavailable, _PG_SCHEMA),
    "25P03": (StorageUnavailable, _PG_AWAY),  # disconnected: idle in a transaction for too long
}
_BY_SQLSTATE_CLASS: dict[str, tuple[type[StorageError], str]] = {
    "08": (StorageUnavailable, _PG_AWAY),  # the connection
    "28": (StorageUnavailable, _PG_AWAY),  # authentication
    "3D": (StorageUnavailable, _PG_AWAY),  # no such database
    "53": (StorageUnavailable, _PG_AWAY),  # memory, connections
    "57": (StorageUnavailable, _PG_AWAY),  # starting, stopping
    "58": (StorageUnavailable, _PG_AWAY),  # its disk
}


def translate(error: BaseException, place: str) -> BaseException:
    """Return the storage error for `error` at `place` (a path or a database), or `error` itself if there is none."""
    if isinstance(error, OSError) and error.errno is not None:
        found = _BY_ERRNO.get(error.errno)
    elif isinstance(error, DBAPIError) and isinstance(error.orig, sqlite3.Error):
        # SQLite reports a write beyond a quota or a file-size limit as an I/O error, not as SQLITE_FULL.
        code = getattr(error.orig, "sqlite_errorcode", 0)
        if code & 0xFF == sqlite3.SQLITE_CANTOPEN and (cause := _out_of_handles()) is not None:
            return translate(cause, place)  # SQLite reports it like a file without read permission
        found = _BY_SQLITE.get(sqlite3.SQLITE_FULL if code == sqlite3.SQLITE_IOERR_WRITE else code & 0xFF)
    elif isinstance(error, DBAPIError):
        found = _of_postgresql(error)
    elif isinstance(error, PoolTimeout):
        found = StorageUnavailable, _PG_AWAY
    else:
        found = None
    if found is None:
        return error
    kind, message = found
    return kind(message.format(place=place, reason=reason_of(error)))


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn an operating system error inside the `with` into the storage error for `place`."""
    try:
        yield
    except OSError as error:
        meant = translate(error, place)
        if meant is error:
            raise
        raise meant from error


def _out_of_handles() -> OSError | None:
    """Return the system's error if no more files can be opened, else None."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error if error.errno in (errno.EMFILE, errno.ENFILE) else None
    return None


def replaced(place: str) -> StorageGone:
    """Return the error for a SQLite file that was replaced while open: further writes would be lost."""
    return StorageGone(_REPLACED.format(place=place))


def _of_postgresql(error: DBAPIError) -> tuple[type[StorageError], str] | None:
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return _BY_SQLSTATE.get(state) or _BY_SQLSTATE_CLASS.get(state[:2])
    # An error without a state comes from libpq: it could not connect, or the connection broke.
    lost = isinstance(error, OperationalError) or error.connection_invalidated
    return (StorageUnavailable, _PG_AWAY) if lost else None


def reason_of(error: BaseException) -> str:
    """Return the first line of the system's or driver's message: addresses and users, never a password or a row."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, DBAPIError):
        error = error.orig or error
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip().rstrip(".")

"""Checks that files hold the bytes of the hash in their names."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from typing import BinaryIO, TypeAlias

_BLOCK = 1 << 20
_REMEMBERED = 8_192

Identity: TypeAlias = tuple[int, int, int, int]
"""Device, inode, size and modification time of a file."""


def identity(handle: int) -> Identity:
    """Return the identity of an open file; it changes with the file's content."""
    found = os.fstat(handle)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def is_hash_of(data: bytes, blob_hash: str) -> bool:
    """Return whether `data` has this hash."""
    return hashlib.sha256(data).hexdigest() == blob_hash


class Integrity:
    """Checks a file's hash once, and again after it has changed.

    Remembers the files checked last, so that a request for a part of a long file reads only that part. Thread-safe.
    """

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._remembered = remembered
        self._right: OrderedDict[str, Identity] = OrderedDict()
        self._lock = threading.Lock()

    def holds(self, file: BinaryIO, blob_hash: str) -> bool:
        """Return whether an open file has this hash; the file is left at its beginning."""
        found = identity(file.fileno())
        with self._lock:
            if self._right.get(blob_hash) == found:
                self._right.move_to_end(blob_hash)
                return True
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
        file.seek(0)
        if digest.hexdigest() != blob_hash:
            return False
        self.note(file.fileno(), blob_hash)
        return True

    def note(self, handle: int, blob_hash: str) -> None:
        """Remember that an open file has this hash."""
        with self._lock:
            self._right[blob_hash] = identity(handle)
            self._right.move_to_end(blob_hash)
            while len(self._right) > self._remembered:
                self._right.popitem(last=False)

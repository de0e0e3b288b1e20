"""Whether files hold the bytes that their names say."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from typing import BinaryIO, TypeAlias

_BLOCK = 1 << 20
_REMEMBERED = 8_192

Identity: TypeAlias = tuple[int, int, int, int]
"""Device, inode, size and time of change of a file."""


def identity(handle: int) -> Identity:
    """Which file is open, and which state of it."""
    found = os.fstat(handle)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def is_hash_of(data: bytes, blob_hash: str) -> bool:
    """Whether `data` is what a file of this name holds."""
    return hashlib.sha256(data).hexdigest() == blob_hash


class Integrity:
    """Reads a file once to see that it holds what its name says, and again when it has changed.

    Of the files read last it knows which were right, so that a request for a part of a long one reads that part only.
    May be used by several threads.
    """

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._remembered = remembered
        self._right: OrderedDict[str, Identity] = OrderedDict()
        self._lock = threading.Lock()

    def holds(self, file: BinaryIO, blob_hash: str) -> bool:
        """Whether an open file holds the bytes of this hash; leaves it at its beginning."""
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
        """An open file was seen to hold the bytes of this hash."""
        with self._lock:
            self._right[blob_hash] = identity(handle)
            self._right.move_to_end(blob_hash)
            while len(self._right) > self._remembered:
                self._right.popitem(last=False)

"""Checks that the disks of the database and the audio have space for new work.

Work is refused a little before a disk is full, so that jobs accepted before can still be finished and written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from storage.errors import StorageFull

LEAST_FILES = 64
"""Free inodes needed: a disk may have free bytes but no free inodes."""


class FreeSpace:
    """Checks the free space of some folders; a check takes microseconds.

    Args:
        folders: the folders of the audio and, if it is a file, of the database.
        least_bytes: a disk with less free counts as full; 0 turns the check off.
    """

    def __init__(self, folders: Sequence[Path], least_bytes: int) -> None:
        self._folders = tuple(dict.fromkeys(folders))
        self._least_bytes = least_bytes

    def shortage(self) -> str:
        """Return a text naming the folder without enough space and its free bytes; "" if all have enough."""
        if not self._least_bytes:
            return ""
        for folder in self._folders:
            try:
                disk = os.statvfs(folder)
            except OSError:
                continue  # a missing folder is reported elsewhere, with its own cure
            free = disk.f_bavail * disk.f_frsize
            if free < self._least_bytes:
                return f"{free} bytes free in {folder}, at least {self._least_bytes} are needed"
            if disk.f_files and disk.f_favail < LEAST_FILES:
                return f"only {disk.f_favail} more files may be made in {folder}, at least {LEAST_FILES} are needed"
        return ""

    def check(self) -> None:
        """Check that every folder has space.

        Raises:
            StorageFull: a folder has too little.
        """
        if shortage := self.shortage():
            raise StorageFull(f"no space left: {shortage}; free some, or move the folder with VOXGATE_DATA_DIR")

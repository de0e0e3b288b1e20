"""Whether the disks of the database and of the audio have room for work.

A disk that is full to its last byte can keep neither an answer nor the news that a job waits. So work is refused a
little before: what was accepted can still be written down.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from storage.errors import StorageFull

LEAST_FILES = 64
"""A disk may have bytes and no more inodes."""


class FreeSpace:
    """Tells whether some folders have room for work; a look takes microseconds.

    Args:
        folders: of the database, where it is a file, and of the audio.
        least_bytes: below which a disk counts as full; 0 for never.
    """

    def __init__(self, folders: Sequence[Path], least_bytes: int) -> None:
        self._folders = tuple(dict.fromkeys(folders))
        self._least_bytes = least_bytes

    def shortage(self) -> str:
        """Which folder has no room, how much is free, and the cure; "" while there is room in each."""
        if not self._least_bytes:
            return ""
        for folder in self._folders:
            try:
                disk = os.statvfs(folder)
            except OSError:
                continue  # a folder that is away is another error, with another cure
            free = disk.f_bavail * disk.f_frsize
            if free < self._least_bytes:
                return f"{free} bytes free in {folder}, at least {self._least_bytes} are needed"
            if disk.f_files and disk.f_favail < LEAST_FILES:
                return f"only {disk.f_favail} more files may be made in {folder}, at least {LEAST_FILES} are needed"
        return ""

    def check(self) -> None:
        """Nothing, while there is room.

        Raises:
            StorageFull: there is none.
        """
        if shortage := self.shortage():
            raise StorageFull(f"no space left: {shortage}; free some, or move the folder with VOXGATE_DATA_DIR")

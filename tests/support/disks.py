"""A small disk of one's own, which can be full or read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave no room."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                block = bytes(size)
                try:
                    while file.write(block) == size:
                        pass
                except OSError:
                    continue

    def clear(self) -> None:
        """Make room again."""
        self._filler.unlink(missing_ok=True)

    def read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True, capture_output=True)

    def writable(self) -> None:
        subprocess.run(["mount", "-o", "remount,rw", str(self.path)], check=True, capture_output=True)


@contextmanager
def disk(path: Path, size_mb: int = 8) -> Iterator[Disk]:
    """A disk mounted at `path`; the test is skipped for those who may not mount."""
    path.mkdir(parents=True, exist_ok=True)
    mounted = os.geteuid() == 0 and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(path)], capture_output=True
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield Disk(path)
    finally:
        # Lazily: a server that was killed a moment ago may still be letting go.
        subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)

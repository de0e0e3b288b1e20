"""Measures the peak memory of a process, as the kernel counts it."""

from __future__ import annotations

import os
from pathlib import Path

MB = 1_000_000


def children(words: str) -> list[int]:
    """Return the ids of this process's children that have these words in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == os.getpid() and words in command:
            found.append(int(folder.name))
    return found


class Peak:
    """The rise of a process's peak memory since this object was made."""

    def __init__(self, pid: int) -> None:
        self._folder = Path("/proc") / str(pid)
        (self._folder / "clear_refs").write_text("5")  # reset the high-water mark
        self._before = self._kilobytes("VmRSS")

    @property
    def rise_bytes(self) -> int:
        """Return the rise in bytes."""
        return 1024 * (self._kilobytes("VmHWM") - self._before)

    def _kilobytes(self, name: str) -> int:
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def peak_bytes(pid: int) -> int:
    """Return the peak memory of a process since it started, in bytes."""
    lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

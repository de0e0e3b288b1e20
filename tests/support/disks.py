"""A small disk of one's own, which can be full or read-only; and what comes close for those who may not mount one."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"
        self._files = path / "files"

    def fill(self, leave_bytes: int = 0) -> None:
        """Leave no room, or hardly any."""
        if leave_bytes:
            self._filler.write_bytes(bytes(max(0, shutil.disk_usage(self.path).free - leave_bytes)))
            return
        with self._filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                block = bytes(size)
                try:
                    while file.write(block) == size:
                        pass
                except OSError:
                    continue

    def fill_files(self) -> None:
        """Leave bytes, but no inode for another file."""
        self._files.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            for n in itertools.count():
                (self._files / str(n)).touch()

    def clear(self) -> None:
        """Make room again."""
        self._filler.unlink(missing_ok=True)
        shutil.rmtree(self._files, ignore_errors=True)

    def read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True, capture_output=True)

    def writable(self) -> None:
        subprocess.run(["mount", "-o", "remount,rw", str(self.path)], check=True, capture_output=True)


@contextmanager
def disk(path: Path, size_mb: int = 8, files: int = 0) -> Iterator[Disk]:
    """A disk mounted at `path`, with room for so many files, if a number is given; the test is skipped for those who
    may not mount."""
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={size_mb}m" + (f",nr_inodes={files}" if files else "")
    mounted = os.geteuid() == 0 and (
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True).returncode == 0
    )
    if not mounted:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield Disk(path)
    finally:
        # Lazily: a server that was killed a moment ago may still be letting go.
        subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)


def bound_by_modes() -> list[str]:
    """What to begin a command with so that a folder's mode binds it: root passes modes over as long as it may."""
    return ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.geteuid() == 0 else []


@contextmanager
def file_size_limit(pid: int, size_bytes: int) -> Iterator[None]:
    """A process can write no file beyond this size: what a quota does, without the right to set one."""
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def not_writable(folder: Path) -> Iterator[None]:
    """Nobody whom modes bind can make, rename or remove a file in `folder` or below it."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    modes = [path.stat().st_mode for path in folders]
    for path in folders:
        path.chmod(0o500)
    try:
        yield
    finally:
        for path, mode in zip(folders, modes, strict=True):
            path.chmod(mode)


def without_hard_links() -> list[str]:
    """What to begin a command with so that the system refuses it every hard link, as exFAT and many mounts do."""
    return [sys.executable, "-c", _REFUSE_LINKS]


_REFUSE_LINKS = """
import ctypes, errno, os, platform, struct, sys
machine, calls = {"x86_64": (0xC000003E, (86, 265)), "aarch64": (0xC00000B7, (37,))}[platform.machine()]
refuse = 0x00050000 | errno.EPERM
steps = [(0x20, 0, 0, 4), (0x15, 0, len(calls) + 1, machine), (0x20, 0, 0, 0)]
steps += [(0x15, len(calls) - at, 0, call) for at, call in enumerate(calls)]
steps += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, refuse)]
filter = b"".join(struct.pack("HBBI", *step) for step in steps)
held = ctypes.create_string_buffer(filter)
program = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(held))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""A seccomp filter (Linux, no rights needed): link and linkat fail with EPERM, all else is allowed."""

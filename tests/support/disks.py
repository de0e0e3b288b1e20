"""Mounts a small disk that can be full or read-only, and simulates one for users without the right to mount."""

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
        """Fill the disk; leave `leave_bytes` free."""
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
        """Use up the inodes; leave free bytes."""
        self._files.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            for n in itertools.count():
                (self._files / str(n)).touch()

    def clear(self) -> None:
        """Remove the files that fill the disk."""
        self._filler.unlink(missing_ok=True)
        shutil.rmtree(self._files, ignore_errors=True)

    def read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True, capture_output=True)

    def writable(self) -> None:
        subprocess.run(["mount", "-o", "remount,rw", str(self.path)], check=True, capture_output=True)


@contextmanager
def disk(path: Path, size_mb: int = 8, files: int = 0) -> Iterator[Disk]:
    """Mount a disk at `path`, with room for `files` files (0: no limit); skip the test without the right to mount."""
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
        # A lazy unmount, since a server that was killed a moment ago may still have files open.
        subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)


def bound_by_modes() -> list[str]:
    """Return a command prefix that drops the capability with which root ignores the modes of folders."""
    return ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.geteuid() == 0 else []


@contextmanager
def file_size_limit(pid: int, size_bytes: int) -> Iterator[None]:
    """Limit the size of files a process can write, like a quota, without the right to set one."""
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def not_writable(folder: Path) -> Iterator[None]:
    """Make `folder` and all folders in it read-only, for processes that obey modes."""
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
    """Return a command prefix with which the system refuses hard links, as exFAT and many mounts do."""
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
"""A seccomp filter (Linux, no special rights): link and linkat fail with EPERM, all other calls are allowed."""

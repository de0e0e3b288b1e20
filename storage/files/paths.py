"""Functions on files of the audio store: list, find, read without waiting, fsync."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_HEX = frozenset("0123456789abcdef")
_FOLDERS = 256
"""The most folders listed in one call."""


def walk(root: Path, after: str, at_least: int) -> tuple[list[Path], str]:
    """List the files of the folders after `after` until there are enough of them.

    Files that do not have the name of a blob are skipped.

    Args:
        after: a folder as `aabb`, or "" for the first.
        at_least: the number of files wanted; the last folder is read to its end.

    Returns:
        Files, and the last folder that was read; "" if it was the last of the store.
    """
    files: list[Path] = []
    folders = 0
    for first in _folders(root, after[:2]):
        for second in _folders(root / first, after[2:] if first == after[:2] else ""):
            if first + second <= after:
                continue
            files += [file for file in (root / first / second).iterdir() if is_hash(file.name.partition(".")[0])]
            folders += 1
            if len(files) >= at_least or folders >= _FOLDERS:
                return files, first + second
    return files, ""


def read_cached(path: Path, at_most: int) -> bytes | None:
    """Read a whole file if it has at most `at_most` bytes and is in the system's cache (RWF_NOWAIT); else None."""
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        size = os.fstat(handle).st_size
        buffer = bytearray(min(size, at_most))
        return bytes(buffer) if os.preadv(handle, (buffer,), 0, os.RWF_NOWAIT) == size else None
    except OSError:  # not cached, or the file system does not support it
        return None
    finally:
        os.close(handle)


def is_hash(name: str) -> bool:
    """Return whether a name has the form of a blob's hash."""
    return len(name) == 64 and name.isalnum()


def _is_hex(name: str) -> bool:
    return len(name) == 2 and set(name) <= _HEX


def _folders(parent: Path, least: str) -> list[str]:
    """List the names of the store's folders in a folder, sorted, from `least` on."""
    return sorted(
        entry.name for entry in parent.iterdir() if _is_hex(entry.name) and entry.name >= least and entry.is_dir()
    )


def all_named(folder: Path, stem: str) -> Iterator[Path]:
    """Yield the files in a folder whose names begin with `stem`; nothing if there is no folder."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names only, and this is on the path of every hit
    except FileNotFoundError:
        return
    for name in names:
        if name.startswith(stem):
            yield folder / name


def fsync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk (fsync)."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

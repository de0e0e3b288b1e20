"""Damages files as disks and incomplete backups do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "flipped": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "overwritten": lambda data: bytes(len(data)),
}


def damage(file: Path, kind: str) -> bytes:
    """Change a file's bytes in place; return the old bytes."""
    held = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(DAMAGES[kind](held))
    return held


def stored(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a data folder's audio store, after those on their way there have arrived."""
    for _ in range(500):
        if not list((folder / "audio" / "tmp").glob("*.*")):
            break
        time.sleep(0.01)
    return sorted((folder / "audio").glob(f"??/??/{pattern}"))

"""The record of the server that runs on a data folder: `voxgate serve` writes it, other commands read it."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import msgspec

RECORD = "server.json"
_TIMEOUT_S = 2.0


class RunningServer(msgspec.Struct, frozen=True):
    """A server on this machine: its address and process id."""

    url: str
    pid: int


def write_record(data_dir: Path, url: str) -> None:
    """Record that this process serves at `url`, unless the record names another process that is alive."""
    path = data_dir / RECORD
    other = _read(path)
    if other is not None and other.pid != os.getpid() and _alive(other.pid):
        return
    spool = path.with_name(f"{RECORD}.{os.getpid()}")
    spool.write_bytes(msgspec.json.encode(RunningServer(url, os.getpid())))
    spool.replace(path)


def remove_record(data_dir: Path) -> None:
    """Delete the record if it is this process's own."""
    path = data_dir / RECORD
    record = _read(path)
    if record is not None and record.pid == os.getpid():
        path.unlink(missing_ok=True)


def find_server(data_dir: Path) -> RunningServer | None:
    """Return the recorded server if its process is alive and it answers."""
    record = _read(data_dir / RECORD)
    if record is None or not _alive(record.pid):
        return None
    try:
        answer = httpx.get(f"{record.url}/health/live", timeout=_TIMEOUT_S, trust_env=False)
    except httpx.HTTPError:
        return None
    return record if answer.status_code == httpx.codes.OK else None


def _read(path: Path) -> RunningServer | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunningServer)
    except (OSError, msgspec.DecodeError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

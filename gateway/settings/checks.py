"""What stops a start: an unwritable folder, a taken port, an absent device. Each is one line with its cure."""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
from pathlib import Path

from gateway.errors import SettingsError
from gateway.settings.model import Settings

_SQLITE_FILE = ("sqlite+aiosqlite:///", "sqlite:///")


def check_start(settings: Settings, *, listen: bool = True) -> None:
    """Refuse to start with settings that cannot work on this machine; makes missing folders.

    Args:
        listen: whether the server will listen on its port.

    Raises:
        SettingsError: the first problem found: variable, value, cure.
    """
    for problem in problems(settings, listen=listen):
        raise SettingsError(problem)


def problems(settings: Settings, *, listen: bool = True) -> list[str]:
    """Every problem of these settings on this machine, one line each; for `voxgate doctor`."""
    found = [
        _folder_problem("VOXGATE_DATA_DIR", settings.data_dir),
        _folder_problem("VOXGATE_CACHE_DIR", settings.audio_dir) if settings.cache_dir else None,
        _folder_problem("VOXGATE_MODEL_CACHE_DIR", settings.models_dir) if settings.model_cache_dir else None,
        _database_problem(settings),
        device_problem(settings.device),
        port_problem(settings.host, settings.port) if listen else None,
    ]
    return [problem for problem in found if problem]


def _folder_problem(variable: str, folder: Path) -> str | None:
    """Found by really writing there: permission bits say little to root, and nothing of a read-only mount."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"voxgate")
    except OSError as error:
        return (
            f"{variable} = {str(folder)!r}: cannot be written ({error.strerror}); "
            f"make it a folder this user ({_user()}) may write, or set {variable} to one"
        )
    return None


def _user() -> str:
    return f"uid {os.getuid()}" if hasattr(os, "getuid") else os.environ.get("USERNAME", "?")


def _database_problem(settings: Settings) -> str | None:
    url = settings.database.url
    for prefix in _SQLITE_FILE:
        if url and url.startswith(prefix) and (path := url[len(prefix) :].partition("?")[0]) not in ("", ":memory:"):
            return _folder_problem("VOXGATE_DATABASE__URL", Path(path).parent)
    return None


def port_problem(host: str, port: int) -> str | None:
    """Why the server cannot listen there, or None. Port 0 can always be had."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        return f"VOXGATE_HOST = {host!r}: no such address ({error.strerror}); set 127.0.0.1 or 0.0.0.0"
    with socket.socket(family, kind, proto) as probe:
        if os.name == "posix":
            # As the server itself does: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return (
                    f"VOXGATE_PORT = {port}: already in use on {host}; stop what listens there, "
                    f"or take another: VOXGATE_PORT={port + 1 if port < 65_535 else port - 1}"
                )
            if error.errno == errno.EACCES:
                return (
                    f"VOXGATE_PORT = {port}: this user may not listen there; take one from 1024 up, VOXGATE_PORT=8000"
                )
            return f"VOXGATE_HOST = {host!r}: cannot be listened on ({error.strerror}); set 127.0.0.1 or 0.0.0.0"
    return None


def device_problem(device: str, dev: Path = Path("/dev"), platform: str = sys.platform) -> str | None:
    """Why this machine cannot offer the device, or None. Asks the system, since torch may not be installed.

    Args:
        device: auto, cpu, cuda, cuda:N or mps.
        dev: the folder of device nodes.
    """
    named = f"VOXGATE_DEVICE = {device!r}"
    if device == "mps" and platform != "darwin":
        return f"{named}: only a Mac has it; set VOXGATE_DEVICE=auto"
    if not device.startswith("cuda") or platform != "linux":
        return None
    if (dev / "dxg").exists():  # WSL shows one node for every GPU
        return None
    have = sorted(int(node.name[6:]) for node in dev.glob("nvidia[0-9]*"))
    if not have:
        return f"{named}: this machine shows no NVIDIA GPU; install its driver, or set VOXGATE_DEVICE=auto"
    index = int(device.partition(":")[2] or 0)
    if ":" in device and index >= len(have):
        # Device nodes keep the host's numbers inside a container, CUDA counts from 0: only the count says something.
        return f"{named}: this machine shows {len(have)} GPU(s), counted from 0; set VOXGATE_DEVICE=cuda:0 or auto"
    return None

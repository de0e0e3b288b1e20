"""Checks before a start: folders, database, device, origins, port. Each problem is one line with its cure."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import SettingsError
from gateway.settings.model import Settings
from gateway.settings.origins import instead

MIN_KEY_CHARS = 16
_SQLITE_FILE = ("sqlite+aiosqlite:///", "sqlite:///")
_CUDA = re.compile(r"cuda(:[0-9]+)?")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://((\*\.)?[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


def check_start(settings: Settings, *, listen: bool = True) -> None:
    """Refuse settings that cannot work on this machine. Makes missing folders.

    Args:
        listen: whether the server will listen on its port.

    Raises:
        SettingsError: the first problem, with variable, value and cure.
    """
    for problem in problems(settings, listen=listen):
        raise SettingsError(problem)


def problems(settings: Settings, *, listen: bool = True) -> list[str]:
    """Return every problem of these settings on this machine, one line each; `voxgate doctor` prints them."""
    found = [
        _key_problem(settings) if listen else None,  # without listening it is a client, and the key another server's
        *_folder_problems(settings),
        _database_problem(settings),
        *_device_problems(settings),
        *_origin_problems(settings),
        *_allow_problems(settings),
        port_problem(settings) if listen else None,
    ]
    return [problem for problem in found if problem]


def _key_problem(settings: Settings) -> str | None:
    """Return the problem of a short API key. Guessing is not rate-limited, so a short key could be guessed."""
    if settings.api_key is None or len(settings.api_key) >= MIN_KEY_CHARS:
        return None
    return (
        f"{settings.origin('api_key')} = *** has {len(settings.api_key)} of the at least {MIN_KEY_CHARS} characters "
        "a key needs and could be guessed; set a longer one, or none, and voxgate makes a key and shows it once"
    )


def _folder_problems(settings: Settings) -> Iterator[str | None]:
    data = settings.origin("data_dir")
    wrong = _folder_problem(data, settings.data_dir, mode=0o700)  # it will hold texts and audio of users
    yield wrong
    if settings.cache_dir is not None:
        yield _folder_problem(settings.origin("cache_dir"), settings.audio_dir)
    elif wrong is None:
        yield _folder_problem(data, settings.data_dir, settings.audio_dir)
    if settings.model_cache_dir is not None:
        yield _folder_problem(settings.origin("model_cache_dir"), settings.models_dir)


def _folder_problem(origin: str, folder: Path, used: Path | None = None, mode: int = 0o777) -> str | None:
    """Return why a folder cannot be written, or None.

    The check writes a file, because permission bits do not bind root and do not show a read-only mount.

    Args:
        used: the folder inside `folder` to check instead of it.
        mode: permission bits of a folder that has to be made.
    """
    probed = used or folder
    try:
        probed.mkdir(mode, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=probed) as probe:
            probe.write(b"voxgate")
    except OSError as error:
        if error.errno in _FULL:
            # The nearest folder that exists: the missing one has no disk yet.
            there = next(path for path in (probed, *probed.absolute().parents) if path.exists())
            free = shutil.disk_usage(there).free
            return f"{origin} = {str(folder)!r}: its disk is full; free some space: {free} bytes free in {probed}"
        inside = f"{used.name!r} in it " if used else ""
        return (
            f"{origin} = {str(folder)!r}: {inside}cannot be written ({error.strerror}); "
            f"make it a folder this user ({_user()}) may write, or set another"
        )
    return None


def _user() -> str:
    return f"uid {os.getuid()}" if hasattr(os, "getuid") else os.environ.get("USERNAME", "?")


def _database_problem(settings: Settings) -> str | None:
    url = settings.database.url
    for prefix in _SQLITE_FILE:
        if url and url.startswith(prefix) and (path := url[len(prefix) :].partition("?")[0]) not in ("", ":memory:"):
            return _folder_problem(settings.origin("database.url"), Path(path).parent)
    return None


def port_problem(settings: Settings) -> str | None:
    """Return why the server cannot listen at its host and port, or None. Port 0 is always free."""
    host, port = settings.host, settings.port
    named_host, named_port = f"{settings.origin('host')} = {host!r}", f"{settings.origin('port')} = {port}"
    other_host = f"set {instead(settings.origin('host'), '127.0.0.1')} or 0.0.0.0"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        return f"{named_host}: no such address ({getattr(error, 'strerror', None) or 'not a name'}); {other_host}"
    with socket.socket(family, kind, proto) as probe:
        if os.name == "posix":
            # The server sets the same option: a port in TIME_WAIT counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                other = instead(settings.origin("port"), port + 1 if port < 65_535 else port - 1)
                return f"{named_port}: already in use on {host}; stop the program that listens there, or set {other}"
            if error.errno == errno.EACCES:
                other = instead(settings.origin("port"), 8000)
                return f"{named_port}: this user may not listen there; choose a port from 1024 up: {other}"
            return f"{named_host}: the server cannot listen there ({error.strerror}); {other_host}"
    return None


def _device_problems(settings: Settings) -> Iterator[str | None]:
    """Yield the problems of the gateway's device and of the devices of backends that may load."""
    yield device_problem(settings.device, settings.origin("device"))
    for name, table in settings.backends.items():
        device = table.get("device")
        if isinstance(device, str) and (settings.plugins is None or name in settings.plugins):
            yield device_problem(device, settings.origin(f"backends.{name}.device"))


def _origin_problems(settings: Settings) -> Iterator[str]:
    """Yield the CORS origins that no browser can send."""
    for entry in settings.cors_origins:
        if entry != "*" and not _ORIGIN.fullmatch(entry):
            yield (
                f"{settings.origin('cors_origins')} = {entry!r}: not an origin; write scheme, host and port in small "
                "letters and nothing after them, such as https://app.example.com or http://localhost:3000, or * for any"
            )


def _allow_problems(settings: Settings) -> Iterator[str]:
    """Yield the entries of `webhook_allow` that can match no host."""
    for entry in settings.webhook_allow:
        if not _is_network(entry) and not _is_host(entry):
            yield (
                f"{settings.origin('webhook_allow')} = {entry!r}: neither a host name nor a network; "
                "write, for example, hooks.internal, 127.0.0.1, 10.0.0.0/8 or fd00::/8"
            )


def _is_network(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
    return True


def _is_host(entry: str) -> bool:
    """Return whether an entry is a host name: DNS labels, and the last one is no number, as in an address."""
    labels = entry.removesuffix(".").split(".")
    return all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def device_problem(
    device: str, origin: str = "VOXGATE_DEVICE", dev: Path = Path("/dev"), platform: str = sys.platform
) -> str | None:
    """Return why this machine lacks the device, or None. It asks the system, because torch may not be installed.

    Args:
        device: auto, cpu, cuda, cuda:N or mps. Other values are reported by the decoder of the setting.
        origin: where the device was set.
        dev: the folder of device nodes.
    """
    named = f"{origin} = {device!r}"
    if device == "mps" and platform != "darwin":
        return f"{named}: only a Mac has it; set {instead(origin, 'auto')}"
    if not _CUDA.fullmatch(device) or platform != "linux":
        return None
    if (dev / "dxg").exists():  # WSL has one node for all GPUs
        return None
    have = sorted(int(node.name[6:]) for node in dev.glob("nvidia[0-9]*"))
    if not have:
        return f"{named}: this machine shows no NVIDIA GPU; install its driver, or set {instead(origin, 'auto')}"
    index = int(device.partition(":")[2] or 0)
    if ":" in device and index >= len(have):
        # In a container, device nodes keep the host's numbers but CUDA counts from 0, so only their count is compared.
        other = instead(origin, "cuda:0")
        return f"{named}: this machine shows {len(have)} GPU(s), counted from 0; set {other} or auto"
    return None

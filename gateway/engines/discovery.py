"""Finds installed backends by package metadata alone: listing them imports none."""

from __future__ import annotations

import importlib.metadata as metadata
import re
from collections.abc import Collection, Iterable
from typing import Any, Literal, cast

import msgspec

from backends.interface import API_VERSION, ENTRY_POINT_GROUP, Backend, Capabilities
from gateway.errors import SettingsError
from gateway.settings.words import meant

ONLY_BY_NAME = frozenset({"scripted"})
"""Backends for tests: they load only when VOXGATE_PLUGINS names them."""


class BackendInfo(msgspec.Struct, frozen=True):
    """One line of `voxgate backends`.

    Args:
        state: `found`; `missing`: its extra is not installed; `broken`: it cannot be used.
        distribution: the package that registers it.
        enabled: whether it may load (see VOXGATE_PLUGINS).
        error: what is wrong, for missing and broken ones.
        cure: the command or setting that mends it.
        capabilities: of a missing one, if it can tell them without its extra.
    """

    name: str
    state: Literal["found", "missing", "broken"]
    distribution: str
    version: str
    enabled: bool = True
    error: str = ""
    cure: str = ""
    capabilities: Capabilities | None = None


class FoundBackend(msgspec.Struct, frozen=True):
    """A registered backend and the entry point of its class."""

    info: BackendInfo
    entry_point: metadata.EntryPoint


def discover(
    plugins: Collection[str] | None,
    entry_points: Iterable[metadata.EntryPoint] | None = None,
    origin: str = "VOXGATE_PLUGINS",
) -> list[FoundBackend]:
    """List all registered backends, by name.

    Args:
        plugins: exactly those may load; None means all but the ones for tests.
        entry_points: the entry points to look at; default is those of all installed packages.
        origin: the setting that `plugins` comes from.

    Raises:
        SettingsError: `plugins` names a backend that no installed package registers.
    """
    found: dict[str, list[metadata.EntryPoint]] = {}
    for entry_point in metadata.entry_points(group=ENTRY_POINT_GROUP) if entry_points is None else entry_points:
        found.setdefault(entry_point.name, []).append(entry_point)
    for name in plugins or ():
        if name not in found:
            raise SettingsError(
                f"{origin} names {name!r}, which no installed package registers{meant(name, found)}"
                f"; installed: {', '.join(sorted(found)) or 'none'}"
            )
    return [_candidate(name, found[name], plugins) for name in sorted(found)]


def _candidate(name: str, entry_points: list[metadata.EntryPoint], plugins: Collection[str] | None) -> FoundBackend:
    entry_point = entry_points[0]
    distribution = entry_point.dist
    info = BackendInfo(
        name,
        "found",
        distribution.name if distribution else "",
        distribution.version if distribution else "",
        enabled=name not in ONLY_BY_NAME if plugins is None else name in plugins,
    )
    if len(entry_points) > 1:
        owners = sorted({one.dist.name if one.dist else one.value for one in entry_points})
        info = msgspec.structs.replace(
            info, state="broken", error=f"registered by more than one package: {', '.join(owners)}",
            cure=f"pip uninstall {owners[-1]}",
        )  # fmt: skip
    elif absent := _absent(entry_point):
        extra = f"{info.distribution}[{','.join(entry_point.extras)}]"
        info = msgspec.structs.replace(
            info, state="missing", error=f"not installed: {', '.join(absent)}", cure=f"pip install '{extra}'"
        )
    return FoundBackend(info, entry_point)


def _absent(entry_point: metadata.EntryPoint) -> list[str]:
    """List packages that are not installed, of the extras an entry point names (`name = "module:Class [extra]"`)."""
    requires = (entry_point.dist.requires if entry_point.dist else None) or []
    absent = []
    for extra in entry_point.extras:
        for requirement in requires:
            if not re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", requirement):
                continue
            name = re.match(r"[A-Za-z0-9._-]+", requirement)
            try:
                if name:
                    metadata.distribution(name.group())
            except metadata.PackageNotFoundError:
                absent.append(name.group() if name else requirement)
    return absent


def load_class(entry_point: metadata.EntryPoint) -> type[Backend]:
    """Import the class of a backend and check it.

    Raises:
        TypeError: it does not follow the contract; the message says where.
        Exception: any error of the import.
    """
    loaded = entry_point.load()
    if not isinstance(loaded, type):
        raise TypeError(f"{entry_point.value} is not a class")
    backend: Any = loaded
    lacks = [name for name in _MEMBERS if not hasattr(backend, name)]
    if lacks:
        raise TypeError(f"{entry_point.value} lacks {', '.join(lacks)}")
    if backend.api_version != API_VERSION:
        raise TypeError(f"{entry_point.value} follows plugin API {backend.api_version}; this voxgate has {API_VERSION}")
    if backend.name != entry_point.name:
        raise TypeError(f"{entry_point.value} is named {backend.name!r}, but registered as {entry_point.name!r}")
    return cast(type[Backend], backend)


_MEMBERS = (
    "name", "api_version", "Settings", "RequestOptions", "capabilities", "voices", "revision", "load", "synthesize",
    "unload",
)  # fmt: skip

"""Backends that were named and cannot speak here: why, who named them, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from backends.interface import BackendUnavailable
from gateway.engines.discovery import BackendInfo
from gateway.engines.registry import unregistered
from gateway.routing.endpoints import Endpoint
from gateway.settings import Settings


class Absent(msgspec.Struct, frozen=True):
    """One backend that is missed.

    Args:
        named_by: the settings and endpoints that name it.
    """

    backend: str
    named_by: tuple[str, ...]
    reason: str
    cure: str


def absence(name: str, found: Mapping[str, BackendInfo]) -> BackendUnavailable:
    """Why a backend that is not loaded is not.

    Args:
        found: every registered backend, by name.
    """
    info = found.get(name)
    if info is None:
        return BackendUnavailable(unregistered(name, found))
    if not info.enabled:
        return BackendUnavailable(f"backend {name} loads only when VOXGATE_PLUGINS names it", "add it there")
    return BackendUnavailable(f"backend {name} is {info.state}: {info.error}", info.cure)


def nobody(found: Mapping[str, BackendInfo]) -> str:
    """Why no backend at all can speak, in words."""
    reasons = "; ".join(str(absence(name, found)) for name, info in found.items() if info.enabled)
    return f"no backend can speak here: {reasons or 'none may load; see VOXGATE_PLUGINS, and run: voxgate backends'}"


def absent(
    settings: Settings, endpoints: Iterable[Endpoint], loaded: Iterable[str], found: Iterable[BackendInfo]
) -> Iterator[Absent]:
    """Every backend that somebody named and that is not loaded.

    Args:
        loaded: the names of those that are.
        found: every registered backend.
    """
    infos = {info.name: info for info in found}
    named: dict[str, list[str]] = {}
    for name, where in _named(settings, endpoints):
        named.setdefault(name, []).append(where)
    for name in sorted(named.keys() - set(loaded)):
        why = absence(name, infos)
        yield Absent(name, tuple(named[name]), why.reason, why.cure)


def _named(settings: Settings, endpoints: Iterable[Endpoint]) -> Iterator[tuple[str, str]]:
    yield from ((name, settings.origin("plugins")) for name in settings.plugins or ())
    if settings.default_backend is not None:
        yield settings.default_backend, settings.origin("default_backend")
    for endpoint in endpoints:
        if endpoint.backend is not None:
            yield endpoint.backend, f"endpoint {endpoint.id}"
        yield from ((name, f"endpoint {endpoint.id}, as fallback") for name in endpoint.fallback)

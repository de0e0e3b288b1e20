"""Finds backends that settings or endpoints name and that cannot speak here, with reason and cure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from backends.interface import BackendUnavailable
from gateway.engines.discovery import BackendInfo
from gateway.engines.registry import unregistered
from gateway.routing.endpoints import Endpoint
from gateway.settings import Settings


class AbsentBackend(msgspec.Struct, frozen=True):
    """A backend that is named and not loaded.

    Args:
        named_by: the settings and endpoints that name it.
    """

    backend: str
    named_by: tuple[str, ...]
    reason: str
    cure: str


def absence(name: str, found: Mapping[str, BackendInfo]) -> BackendUnavailable:
    """Return the reason why a backend is not loaded, as an error.

    Args:
        found: every registered backend, by name.
    """
    info = found.get(name)
    if info is None:
        return BackendUnavailable(unregistered(name, found))
    if not info.enabled:
        return BackendUnavailable(f"backend {name} loads only when VOXGATE_PLUGINS names it", "add it there")
    return BackendUnavailable(f"backend {name} is {info.state}: {info.error}", info.cure)


def no_backend_reason(found: Mapping[str, BackendInfo]) -> str:
    """Return a message with the reasons why no backend can speak."""
    reasons = "; ".join(str(absence(name, found)) for name, info in found.items() if info.enabled)
    return f"no backend can speak here: {reasons or 'none may load; see VOXGATE_PLUGINS, and run: voxgate backends'}"


def absent_backends(
    settings: Settings, endpoints: Iterable[Endpoint], loaded: Iterable[str], found: Iterable[BackendInfo]
) -> Iterator[AbsentBackend]:
    """Yield every backend that is named in settings or endpoints and is not loaded.

    Args:
        loaded: the names of the loaded backends.
        found: every registered backend.
    """
    infos = {info.name: info for info in found}
    named: dict[str, list[str]] = {}
    for name, where in _named(settings, endpoints):
        named.setdefault(name, []).append(where)
    for name in sorted(named.keys() - set(loaded)):
        why = absence(name, infos)
        yield AbsentBackend(name, tuple(named[name]), why.reason, why.cure)


def _named(settings: Settings, endpoints: Iterable[Endpoint]) -> Iterator[tuple[str, str]]:
    yield from ((name, settings.origin("plugins")) for name in settings.plugins or ())
    if settings.default_backend is not None:
        yield settings.default_backend, settings.origin("default_backend")
    for endpoint in endpoints:
        if endpoint.backend is not None:
            yield endpoint.backend, f"endpoint {endpoint.id}"
        yield from ((name, f"endpoint {endpoint.id}, as arm") for name in endpoint.policy.by_backend)
        yield from ((name, f"endpoint {endpoint.id}, as fallback") for name in endpoint.policy.fallback)

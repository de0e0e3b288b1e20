"""Checks routes before the first request: names of backends, policy, defaults."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from gateway.engines.registry import unregistered
from gateway.errors import InvalidInput, SettingsError
from gateway.routing.endpoints import ID_RULE, is_id
from gateway.routing.policy import read_policy
from gateway.settings import EndpointSettings, Settings
from gateway.speech.decode import decode_request

_ANY_INPUT = b'{"text": "a"}'


def route_problems(settings: Settings, installed: Collection[str]) -> list[str]:
    """Return every problem of `default_backend` and `[endpoints.ID]`, one line each.

    Args:
        installed: the names of backends that installed packages register, even if they cannot be used.
    """
    found = []
    if settings.default_backend is not None and settings.default_backend not in installed:
        found.append(f"{settings.origin('default_backend')}: {unregistered(settings.default_backend, installed)}")
    for name, endpoint in settings.endpoints.items():
        if not is_id(name):
            found.append(f"[endpoints.{name}]: {ID_RULE}; rename it")

        def where(key: str, name: str = name, endpoint: EndpointSettings = endpoint) -> str:
            own = getattr(endpoint, key, None) is not None
            return settings.origin(f"endpoints.{name}.{key if own else f'defaults.{key}'}")

        found += endpoint_problems(endpoint.input_defaults(), endpoint.policy, installed, where)
    return found


def endpoint_problems(
    defaults: Mapping[str, Any], policy: Mapping[str, Any], installed: Collection[str], where: Callable[[str], str]
) -> Iterator[str]:
    """Yield every problem of one endpoint.

    Args:
        where: returns the name of a key in the place where it was set.
    """
    backend = defaults.get("backend")
    if isinstance(backend, str) and backend not in installed:
        yield f"{where('backend')}: {unregistered(backend, installed)}"
    try:
        read = read_policy(where("policy"), policy)
    except SettingsError as error:
        yield str(error)
    else:
        unknown = (name for name in read.backends if name not in installed)
        yield from (f"{where('policy')}: {unregistered(name, installed)}" for name in unknown)
        if read.arms and backend is not None:
            yield f"{where('policy')}: the endpoint has a backend and arms; give it one of the two"
    try:
        decode_request(_ANY_INPUT, defaults)
    except InvalidInput as error:
        key = str(error).partition(" ")[0]
        yield f"{where(key if key in defaults else 'defaults')}: {error}"

"""The route policy of an endpoint: which backends share its requests, and which speak when those cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.errors import SettingsError
from gateway.settings.values import InvalidValue, convert
from gateway.settings.words import explain

_Name = Annotated[str, Meta(min_length=1)]
_encode = msgspec.json.Encoder(order="deterministic").encode


class PolicyArm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the backends that share an endpoint's requests.

    Args:
        weight: its share beside the other arms' weights; 0: no new requests.
        voices: this backend's voice for a name that callers use; `default` is the name of requests that name none.
        options: its request options, below those of the request.
    """

    backend: _Name
    weight: Annotated[float, Meta(ge=0)] = 1.0
    voices: dict[_Name, _Name] = {}
    options: dict[str, Any] = {}


class RoutePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """A route policy.

    Args:
        fallback: backends that are tried in this order if the chosen one cannot speak.
        arms: the backends that share the requests which name none; () for the endpoint's one backend.
        sticky_by: what always goes to the same arm: equal texts in one voice, or all requests of a key.
    """

    fallback: tuple[_Name, ...] = ()
    arms: tuple[PolicyArm, ...] = ()
    sticky_by: Literal["content", "api_key"] = "content"

    @cached_property
    def version(self) -> str:
        """A name of exactly this policy: the first 12 digits of its SHA-256."""
        return hashlib.sha256(_encode(self)).hexdigest()[:12]

    @cached_property
    def by_backend(self) -> dict[str, PolicyArm]:
        """The arms by the names of their backends."""
        return {arm.backend: arm for arm in self.arms}

    @property
    def backends(self) -> tuple[str, ...]:
        """Return the name of every backend of the policy."""
        return tuple(dict.fromkeys((*self.by_backend, *self.fallback)))


NO_POLICY = RoutePolicy()


def read_policy(where: str, policy: Mapping[str, Any]) -> RoutePolicy:
    """Decode a route policy.

    Args:
        where: the place where the policy was set, for the message.

    Raises:
        SettingsError: a key is unknown, or a value has the wrong type or is out of range.
    """
    given = dict(policy)
    try:
        if "fallback" in given:
            given["fallback"] = _names(given["fallback"])
        read = msgspec.convert(given, RoutePolicy)
    except InvalidValue as error:
        raise SettingsError(f'{where}: fallback must be a list of backends, such as ["hibari"]') from error
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: {explain(error, RoutePolicy)}") from error
    if len(read.by_backend) < len(read.arms):
        raise SettingsError(f"{where}: two arms have the same backend; give each arm another one")
    if read.arms and not any(arm.weight for arm in read.arms):
        raise SettingsError(f"{where}: every arm has the weight 0; give at least one a weight above 0")
    return read


def _names(value: Any) -> tuple[str, ...]:
    names: tuple[str, ...] = convert(value, tuple[str, ...], is_text=isinstance(value, str), is_size=False)
    return names

"""Finds the models of OpenAI's API: the endpoints that were made, and the backends by name."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from gateway.routing.arms import ArmBackend
from gateway.routing.endpoints import Endpoint, Endpoints

OPENAI_MODELS = ("gpt-4o-mini-tts", "tts-1", "tts-1-hd")
"""The names of OpenAI's own models; all of them stand for the endpoint `default`."""

OPENAI_VOICES = frozenset("alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split())
"""The names of OpenAI's own voices."""

_SNAPSHOT = re.compile(r"(.+?)-\d{4}-\d{2}-\d{2}").fullmatch
_DEFAULT = "default"


class ListedModel(msgspec.Struct, frozen=True):
    """The endpoint and the backend that a model's name stands for.

    Args:
        endpoint: the endpoint of the job.
        backend: of the request; None: the endpoint's.
    """

    id: str
    endpoint: Endpoint
    backend: str | None = None


class Models:
    """Finds models by name.

    Args:
        known: the backends that may speak, by name.
    """

    def __init__(self, endpoints: Endpoints, known: Mapping[str, ArmBackend]) -> None:
        self._endpoints = endpoints
        self._known = known

    def all(self) -> list[str]:
        """Return every name once: endpoints, backends, then OpenAI's own models."""
        made = [endpoint.id for endpoint in self._endpoints.all()]
        return list(dict.fromkeys((_DEFAULT, *made, *self._known, *OPENAI_MODELS)))

    def find(self, name: str) -> ListedModel | None:
        """Return the model of this name: an endpoint, else a backend, else one of OpenAI's names; None if unknown.

        Endpoints are not made on demand here, since a mistyped model would then speak.
        """
        if name == _DEFAULT or any(endpoint.id == name for endpoint in self._endpoints.all()):
            return ListedModel(name, self._endpoints.resolve(name))
        if name in self._known:
            return ListedModel(name, self._endpoints.resolve(_DEFAULT), name)
        snapshot = _SNAPSHOT(name)
        if name in OPENAI_MODELS or (snapshot is not None and snapshot.group(1) in OPENAI_MODELS):
            return ListedModel(name, self._endpoints.resolve(_DEFAULT))
        return None

    def taking(self, option: str) -> list[str]:
        """Return the names of the backends that have this request option."""
        return [name for name, candidate in self._known.items() if takes(candidate, option)]


def takes(candidate: ArmBackend, option: str) -> bool:
    """Return whether a backend has this request option."""
    return any(field.encode_name == option for field in msgspec.structs.fields(candidate.options_type))

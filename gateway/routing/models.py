"""Models, as OpenAI's API calls what speaks: the endpoints somebody made, and the backends by name."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from gateway.routing.arms import ArmBackend
from gateway.routing.endpoints import Endpoint, Endpoints

OPENAI_MODELS = ("gpt-4o-mini-tts", "tts-1", "tts-1-hd")
"""What OpenAI's own models are called; here all of them are the endpoint `default`."""

OPENAI_VOICES = frozenset("alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split())
"""What OpenAI's own voices are called."""

_SNAPSHOT = re.compile(r"(.+?)-\d{4}-\d{2}-\d{2}").fullmatch
_DEFAULT = "default"


class ListedModel(msgspec.Struct, frozen=True):
    """What a model's name stands for.

    Args:
        endpoint: jobs are submitted to it.
        backend: what the request names; None leaves it to the endpoint.
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
        """Every name, each once: endpoints, backends, then OpenAI's own."""
        made = [endpoint.id for endpoint in self._endpoints.all()]
        return list(dict.fromkeys((_DEFAULT, *made, *self._known, *OPENAI_MODELS)))

    def find(self, name: str) -> ListedModel | None:
        """The model of this name. An endpoint comes before a backend, and both before OpenAI's names.

        Endpoints are not made on demand here: a mistyped model would speak.
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
        """The backends that have this request option."""
        return [name for name, candidate in self._known.items() if takes(candidate, option)]


def takes(candidate: ArmBackend, option: str) -> bool:
    """Whether a backend has this request option."""
    return any(field.encode_name == option for field in msgspec.structs.fields(candidate.options_type))

"""The arms of a request: which backend first, and which stand by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from backends.interface import Voice
from gateway.engines.discovery import BackendInfo
from gateway.errors import InvalidInput
from gateway.routing.arms import Arm, Candidate, preferred, resolve
from gateway.routing.endpoints import Endpoint
from gateway.routing.speakers import Speakers
from gateway.speech.request import SpeechRequest


class Router:
    """Chooses among the backends that are loaded.

    Args:
        known: by name.
        uploaded: finds a tenant's own voice by name.
        own_names: of a tenant's voices.
        found: every registered backend, for messages: what could be installed.
    """

    def __init__(
        self,
        known: Mapping[str, Candidate],
        default_backend: str | None,
        uploaded: Callable[[str, str], Voice | None],
        own_names: Callable[[str], list[str]] = lambda tenant: [],
        found: Iterable[BackendInfo] = (),
    ) -> None:
        self.speakers = Speakers(known.values(), found)
        self._known = known
        self._uploaded = uploaded
        self._own_names = own_names
        self._default_backend = default_backend

    def meant(self, endpoint: Endpoint) -> str:
        """The backend of requests to this endpoint that name none.

        Raises:
            InvalidInput: it is not loaded.
        """
        return preferred(None, endpoint.backend, self._default_backend, self._known).name

    def serving(self, endpoint: Endpoint) -> list[Candidate]:
        """The backends that speak at this endpoint when a request names none: the one that is meant, its fallbacks.

        Raises:
            InvalidInput: the one that is meant is not loaded.
        """
        meant = self.meant(endpoint)
        names = dict.fromkeys((meant, *endpoint.fallback))
        return [self._known[name] for name in names if name in self._known]

    def first(self, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> Arm:
        """The arm that is meant.

        Raises:
            InvalidInput: no such backend, or it cannot speak the request as asked.
        """
        candidate = preferred(request.backend, endpoint.backend, self._default_backend, self._known)
        uploaded = self._uploaded(tenant, request.voice)
        return resolve(candidate, request, self.speakers, uploaded, lambda: self._own_names(tenant))

    def arms(self, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> list[Arm]:
        """The arm that is meant, then the endpoint's eligible fallbacks.

        A backend that the request names itself has no fallback: whoever asks for a voice by name wants that one.

        Raises:
            InvalidInput: see `first`.
        """
        arms = [self.first(request, endpoint, tenant)]
        uploaded = self._uploaded(tenant, request.voice)
        if request.backend is not None:
            return arms
        for name in endpoint.fallback:
            candidate = self._known.get(name)
            if candidate is None or name == arms[0].backend:
                continue
            try:
                arms.append(resolve(candidate, request, self.speakers, uploaded))
            except InvalidInput:
                continue  # not eligible for this request: that is what eligibility means
        return arms

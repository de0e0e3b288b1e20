"""Chooses the arms of a request: the backend that speaks, and its fallbacks.

If the request names a backend, only that one is used. Otherwise the order is: the endpoint's backend, else the
`default_backend` setting, else chatterbox if it is installed, else google, else the embedded voice; then the endpoint's
fallbacks. The embedded voice never replaces another backend unless a fallback names it, since a silent change of voice
is worse than an error. Backends that cannot speak the request are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from backends.interface import BackendUnavailable, Voice
from gateway.engines.discovery import BackendInfo
from gateway.errors import InvalidInput, ModelNotInitialized
from gateway.routing.absent import absence, no_backend_reason
from gateway.routing.arms import Arm, ArmBackend, resolve, with_named_voices
from gateway.routing.endpoints import Endpoint
from gateway.routing.speakers import Speakers
from gateway.settings.words import meant
from gateway.speech.request import SpeechRequest

PREFERENCE = ("chatterbox", "google", "hibari")

REFUSALS = (InvalidInput, ModelNotInitialized)
"""The errors for a request that no backend here can speak: the request is wrong, or the backend is not loaded."""


class Router:
    """Chooses among the loaded backends.

    Args:
        known: the loaded backends by name.
        uploaded: finds a tenant's own voice by name.
        own_names: returns the names of a tenant's voices.
        found: every registered backend, for messages about backends that could be installed.
    """

    def __init__(
        self,
        known: Mapping[str, ArmBackend],
        default_backend: str | None,
        uploaded: Callable[[str, str], Voice | None],
        own_names: Callable[[str], list[str]] = lambda tenant: [],
        found: Iterable[BackendInfo] = (),
    ) -> None:
        self._found = {info.name: info for info in found}
        self.speakers = Speakers(known.values(), self._found.values())
        self._known = known
        self._uploaded = uploaded
        self._own_names = own_names
        self._default_backend = default_backend

    def serving(self, endpoint: Endpoint, backend: str | None = None) -> list[ArmBackend]:
        """Return the loaded backends that may speak at this endpoint, in order; at least one.

        Args:
            backend: the backend that the request names.

        Raises:
            InvalidInput: the request names an unknown backend.
            ModelNotInitialized: none of them is loaded.
        """
        names = self._candidates(backend, endpoint)
        loaded = [self._known[name] for name in names if name in self._known]
        if not loaded:
            raise self._refused([self._absence(name, backend) for name in names])
        return loaded

    def first(self, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> Arm:
        """Return the arm that speaks: the first one that can.

        Raises:
            InvalidInput: no arm can speak the request, or it names an unknown backend.
            ModelNotInitialized: the preferred backend is not loaded, and no fallback can speak the request.
        """
        return next(self._eligible(request, endpoint, tenant))

    def arms(self, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> list[Arm]:
        """Return the arm that speaks, then its fallbacks.

        A backend that the request names has no fallback.

        Raises:
            InvalidInput, ModelNotInitialized: see `first`.
        """
        return list(self._eligible(request, endpoint, tenant))

    def _eligible(self, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> Iterator[Arm]:
        uploaded = self._uploaded(tenant, request.voice)
        refusals: list[InvalidInput | BackendUnavailable] = []
        found = False
        for name in self._candidates(request.backend, endpoint):
            candidate = self._known.get(name)
            if candidate is None:
                refusals.append(self._absence(name, request.backend))
                continue
            speakers = None if refusals else self.speakers  # only the first refusal lists other backends
            try:
                arm = resolve(candidate, request, speakers, uploaded, lambda: self._own_names(tenant))
                if request.segments:
                    arm = with_named_voices(
                        arm, candidate, request, partial(self._uploaded, tenant), lambda: self._own_names(tenant)
                    )
            except InvalidInput as error:
                # Its traceback refers to this frame and this frame to the list; without the cycle the request is freed.
                refusals.append(error.with_traceback(None))
            else:
                found = True
                yield arm
        if not found:
            raise self._refused(refusals)

    def _candidates(self, asked: str | None, endpoint: Endpoint) -> tuple[str, ...]:
        """Return the names of the backends in the order in which they are tried, those that are not loaded included."""
        if asked is not None:
            return (asked,)
        named = endpoint.backend or self._default_backend
        return tuple(dict.fromkeys((*((named,) if named else self._best()), *endpoint.fallback)))

    def _best(self) -> Iterable[str]:
        """Return the preferred one of the loaded backends; if none is loaded, all that are enabled."""
        known = (*PREFERENCE, *sorted(self._known))
        best = next((name for name in known if name in self._known), None)
        return [name for name, info in self._found.items() if info.enabled] if best is None else (best,)

    def _absence(self, name: str, asked: str | None) -> InvalidInput | BackendUnavailable:
        """Return the error about a backend that is not loaded: InvalidInput if the request names an unknown backend."""
        info = self._found.get(name)
        if name == asked and (info is None or not info.enabled):
            return InvalidInput(
                f"backend {name!r} is not loaded{meant(name, self._known)}; "
                f"loaded: {', '.join(sorted(self._known)) or 'none'}. "
                "`voxgate backends` lists what is missing and the command that installs it"
            )
        return absence(name, self._found)

    def _refused(self, refusals: list[InvalidInput | BackendUnavailable]) -> InvalidInput | ModelNotInitialized:
        return refusal(*refusals) if refusals else ModelNotInitialized(no_backend_reason(self._found))


def refusal(
    first: InvalidInput | BackendUnavailable, *others: InvalidInput | BackendUnavailable, hint: str = ""
) -> InvalidInput | ModelNotInitialized:
    """Return the error if no arm can speak: the refusal of the first arm, then those of its fallbacks.

    Args:
        hint: added after the first refusal.
    """
    words = f"{first}{hint}. Its fallbacks: {'; '.join(map(str, others))}" if others else f"{first}{hint}"
    return ModelNotInitialized(words) if isinstance(first, BackendUnavailable) else type(first)(words)

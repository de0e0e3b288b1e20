"""Finds the backends of a request: the one that speaks, and its fallbacks.

If the request names a backend, only that one is used. If the endpoint's policy has arms, one of those that can speak
the request is chosen by weight, then come the policy's fallbacks. Otherwise the order is: the endpoint's backend, else
the `default_backend` setting, else chatterbox if it is installed, else google, else the embedded voice; then the
endpoint's fallbacks. The embedded voice never replaces another backend unless a fallback names it, since a silent
change of voice is worse than an error. Backends that cannot speak the request are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from backends.interface import BackendUnavailable, Voice
from gateway.engines.discovery import BackendInfo
from gateway.errors import InvalidInput, ModelNotInitialized
from gateway.routing.absent import absence, no_backend_reason
from gateway.routing.arms import ArmBackend
from gateway.routing.endpoints import Endpoint
from gateway.routing.offers import Market, Offers
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
        self._default_backend = default_backend
        self._market = Market(
            known=known,
            uploaded=uploaded,
            own_names=own_names,
            speakers=self.speakers,
            absence=self._absence,
            refused=self._refused,
            order=self._order,
        )

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

    def offers(self, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> Offers:
        """Return the offers of the backends here for this request."""
        return Offers(self._market, request, endpoint, tenant)

    def _candidates(self, asked: str | None, endpoint: Endpoint) -> tuple[str, ...]:
        """Return the names of the backends that may speak, in order, those that are not loaded included."""
        if asked is not None:
            return (asked,)
        return endpoint.policy.backends if endpoint.policy.arms else self._order(endpoint)

    def _order(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Return the backends of an endpoint without arms, in the order in which they are tried."""
        named = endpoint.backend or self._default_backend
        return tuple(dict.fromkeys((*((named,) if named else self._best()), *endpoint.policy.fallback)))

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

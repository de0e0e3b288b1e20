"""The arms of a request: which backend speaks, and which stand by. Eligibility first, then the order of preference.

The order is: what the request names, and nothing else; or the endpoint's backend, else the `default_backend` setting,
else chatterbox if installed, then google, else the embedded voice; and then the endpoint's fallbacks. The embedded
voice never stands in for a backend that was meant where no fallback says so: a silent change of voice is worse than an
error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from backends.interface import BackendUnavailable, Voice
from gateway.engines.discovery import BackendInfo
from gateway.errors import InvalidInput, ModelNotInitialized
from gateway.routing.absent import absence, nobody
from gateway.routing.arms import Arm, ArmBackend, resolve
from gateway.routing.endpoints import Endpoint
from gateway.routing.speakers import Speakers
from gateway.settings.words import meant
from gateway.speech.request import SpeechRequest

PREFERENCE = ("chatterbox", "google", "hibari")

REFUSALS = (InvalidInput, ModelNotInitialized)
"""What a request meets that no backend here can speak: it is wrong, or who should speak is not there."""


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
        """The backends that may speak at this endpoint, in their order; at least one.

        Args:
            backend: what the request names itself.

        Raises:
            InvalidInput: the request names one there is not.
            ModelNotInitialized: none of them is loaded.
        """
        names = self._in_line(backend, endpoint)
        loaded = [self._known[name] for name in names if name in self._known]
        if not loaded:
            raise self._refused([self._absence(name, backend) for name in names])
        return loaded

    def first(self, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> Arm:
        """The arm that speaks: the first of those that can.

        Raises:
            InvalidInput: none can speak the request as asked, or it names a backend there is not.
            ModelNotInitialized: the backend that is meant is not loaded, and no fallback can speak it.
        """
        return next(self._eligible(request, endpoint, tenant))

    def arms(self, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> list[Arm]:
        """The arm that speaks, then those that stand by should it be unavailable.

        A backend that the request names itself has no fallback: whoever asks for a voice by name wants that one.

        Raises:
            InvalidInput, ModelNotInitialized: see `first`.
        """
        return list(self._eligible(request, endpoint, tenant))

    def _eligible(self, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> Iterator[Arm]:
        uploaded = self._uploaded(tenant, request.voice)
        refusals: list[InvalidInput | BackendUnavailable] = []
        found = False
        for name in self._in_line(request.backend, endpoint):
            candidate = self._known.get(name)
            if candidate is None:
                refusals.append(self._absence(name, request.backend))
                continue
            speakers = None if refusals else self.speakers  # who else could is told once
            try:
                arm = resolve(candidate, request, speakers, uploaded, lambda: self._own_names(tenant))
            except InvalidInput as error:
                # Its traceback holds this frame, and this frame the list: only the collector would free the request.
                refusals.append(error.with_traceback(None))
            else:
                found = True
                yield arm
        if not found:
            raise self._refused(refusals)

    def _in_line(self, asked: str | None, endpoint: Endpoint) -> tuple[str, ...]:
        """Names of backends in the order in which they are asked; also of those that are not there."""
        if asked is not None:
            return (asked,)
        named = endpoint.backend or self._default_backend
        return tuple(dict.fromkeys((*((named,) if named else self._best()), *endpoint.fallback)))

    def _best(self) -> Iterable[str]:
        """The one that is preferred of those that are loaded; where none is, all that should be."""
        known = (*PREFERENCE, *sorted(self._known))
        best = next((name for name in known if name in self._known), None)
        return [name for name, info in self._found.items() if info.enabled] if best is None else (best,)

    def _absence(self, name: str, asked: str | None) -> InvalidInput | BackendUnavailable:
        """Why a backend does not speak here. Who asks for one that is not to be had has asked for something wrong."""
        info = self._found.get(name)
        if name == asked and (info is None or not info.enabled):
            return InvalidInput(
                f"backend {name!r} is not loaded{meant(name, self._known)}; "
                f"loaded: {', '.join(sorted(self._known)) or 'none'}. "
                "`voxgate backends` lists what is missing and the command that installs it"
            )
        return absence(name, self._found)

    def _refused(self, refusals: list[InvalidInput | BackendUnavailable]) -> InvalidInput | ModelNotInitialized:
        return refusal(*refusals) if refusals else ModelNotInitialized(nobody(self._found))


def refusal(
    first: InvalidInput | BackendUnavailable, *others: InvalidInput | BackendUnavailable, hint: str = ""
) -> InvalidInput | ModelNotInitialized:
    """What is told when no arm speaks: what the first one lacked, then what the others did.

    Args:
        hint: follows what the first one lacked.
    """
    words = f"{first}{hint}. Its fallbacks: {'; '.join(map(str, others))}" if others else f"{first}{hint}"
    return ModelNotInitialized(words) if isinstance(first, BackendUnavailable) else type(first)(words)

"""The limit of requests that an endpoint answers at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

from gateway.access.principal import Principal
from gateway.errors import TooManyRequests

RUNPOD_AT_ONCE: Final = {
    "run": 200,
    "runsync": 400,
    "status": 400,
    "status-sync": 400,
    "stream": 400,
    "cancel": 20,
    "purge-queue": 2,
    "requests": 2,
}
"""RunPod's figures per endpoint, as documented on 2026-11-22. Other verbs have no limit."""

_RETRY_AFTER_S = 1.0

_Place: TypeAlias = tuple[str, str, str]


class InFlight:
    """Counts the requests that this server is answering. Each server counts its own.

    Args:
        most: the highest number of requests of one tenant at one endpoint at a time, by verb; empty for no limit.
    """

    def __init__(self, most: Mapping[str, int]) -> None:
        self._most = most
        self.name_of: Callable[[str], str] = str
        """Gives the name under which an endpoint's requests are counted: `Endpoints.label`."""
        self._now: Counter[_Place] = Counter()

    def enter(self, principal: Principal, endpoint_id: str, verb: str) -> Callable[[], None] | None:
        """Count a request as in flight.

        Returns:
            A function to call once the request is answered; None where nothing is counted.

        Raises:
            TooManyRequests: the limit is reached.
        """
        most = self._most.get(verb)
        if most is None:
            return None
        place = (principal.tenant, self.name_of(endpoint_id), verb)
        if self._now[place] >= most:
            raise TooManyRequests(
                f"this endpoint answers {most} /{verb} requests at a time; try again in {_RETRY_AFTER_S:.0f} s",
                _RETRY_AFTER_S,
            )
        self._now[place] += 1
        return partial(self._leave, place)

    def _leave(self, place: _Place) -> None:
        self._now[place] -= 1
        if not self._now[place]:
            del self._now[place]

"""The offers for one request: each backend's way to speak it, and the order in which they are tried."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial

import msgspec

from backends.interface import BackendUnavailable, Voice
from gateway.errors import InvalidInput, ModelNotInitialized
from gateway.routing.arms import Arm, ArmBackend, resolve, with_named_voices
from gateway.routing.endpoints import Endpoint
from gateway.routing.policy import PolicyArm
from gateway.routing.speakers import Speakers
from gateway.speech.request import SpeechRequest


class Market(msgspec.Struct, frozen=True):
    """The part of the router that offers need: the backends here, and the tenants' voices.

    Args:
        known: the loaded backends by name.
        uploaded: finds a tenant's own voice by name.
        own_names: returns the names of a tenant's voices.
        absence: returns the error about a backend that is not loaded; given its name and the one a request names.
        refused: makes one error of those of all backends that were tried.
        order: returns the backends of an endpoint without arms, in the order in which they are tried.
    """

    known: Mapping[str, ArmBackend]
    uploaded: Callable[[str, str], Voice | None]
    own_names: Callable[[str], list[str]]
    speakers: Speakers
    absence: Callable[[str, str | None], InvalidInput | BackendUnavailable]
    refused: Callable[[list[InvalidInput | BackendUnavailable]], InvalidInput | ModelNotInitialized]
    order: Callable[[Endpoint], tuple[str, ...]]


class Offers:
    """Resolves a request for each backend once, when it is asked for. Choosing among them is never remembered.

    Args:
        tenant: whose own voices the request may name.
    """

    def __init__(self, market: Market, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> None:
        self._market = market
        self.request = request
        self.endpoint = endpoint
        self.tenant = tenant
        self._arms: dict[str, Arm | None] = {}

    @property
    def split(self) -> bool:
        """Return whether the arms of the endpoint's policy share this request."""
        return bool(self.endpoint.policy.arms) and self.request.backend is None

    @cached_property
    def content(self) -> str:
        """A hash of the text and the voice: the unit of a split by content."""
        request = self.request
        return hashlib.sha256(f"{request.voice}\0{request.text}".encode()).hexdigest()[:32]

    @cached_property
    def able(self) -> tuple[PolicyArm, ...]:
        """The arms of the policy that can speak this request."""
        return tuple(arm for arm in self.endpoint.policy.arms if self.arm(arm.backend) is not None)

    def unit(self, key_id: str) -> str:
        """Return the unit that the split is sticky by, for a caller with this key."""
        if self.endpoint.policy.sticky_by == "content":
            return self.content
        return hashlib.sha256(key_id.encode()).hexdigest()[:32]

    def choose(self, unit: str) -> tuple[str, ...]:
        """Return the backends in the order in which they are tried: the chosen arm, then the fallbacks.

        Backends that cannot speak the request may be among them, except as the chosen arm of a split.
        """
        if self.request.backend is not None:
            return (self.request.backend,)
        if not self.split:
            return self._market.order(self.endpoint)
        fallback = self.endpoint.policy.fallback
        if not any(arm.weight for arm in self.able):
            return tuple(dict.fromkeys((*self.endpoint.policy.by_backend, *fallback)))
        return tuple(dict.fromkeys((_pick(self.able, f"{self.endpoint.id}\0{unit}"), *fallback)))

    def first(self, names: Iterable[str]) -> Arm:
        """Return the arm of the first of these backends that can speak the request.

        Raises:
            InvalidInput: no backend can speak the request, or it names an unknown one.
            ModelNotInitialized: the first backend is not loaded, and no other can speak the request.
        """
        tried = []
        for name in names:
            arm = self.arm(name)
            if arm is not None:
                return arm
            tried.append(name)
        raise self.refused(tried)

    def arm(self, backend: str) -> Arm | None:
        """Return the arm of a backend; None if it cannot speak the request or is not loaded."""
        if backend not in self._arms:
            found = self._resolve(backend, None)
            self._arms[backend] = found if isinstance(found, Arm) else None
        return self._arms[backend]

    def refused(self, names: Sequence[str]) -> InvalidInput | ModelNotInitialized:
        """Return the error for a request that none of these backends can speak."""
        errors: list[InvalidInput | BackendUnavailable] = []
        for name in names:
            found = self._resolve(name, None if errors else self._market.speakers)  # only the first names others
            if not isinstance(found, Arm):
                errors.append(found)
        return self._market.refused(errors)

    def _resolve(self, backend: str, speakers: Speakers | None) -> Arm | InvalidInput | BackendUnavailable:
        candidate = self._market.known.get(backend)
        if candidate is None:
            return self._market.absence(backend, self.request.backend)
        request = _for_arm(self.request, self.endpoint.policy.by_backend.get(backend) if self.split else None)
        uploaded = partial(self._market.uploaded, self.tenant)
        own = partial(self._market.own_names, self.tenant)
        try:
            arm = resolve(candidate, request, speakers, uploaded(request.voice), own)
            return with_named_voices(arm, candidate, request, uploaded, own) if request.segments else arm
        except InvalidInput as error:
            # Its traceback refers to this frame and this frame to the error; without the cycle the request is freed.
            return error.with_traceback(None)


def _for_arm(request: SpeechRequest, arm: PolicyArm | None) -> SpeechRequest:
    """Return the request with the voice and the options that the policy gives for this arm."""
    if arm is None or not (arm.voices or arm.options):
        return request
    voice = arm.voices.get(request.voice, request.voice)
    return msgspec.structs.replace(request, voice=voice, options={**arm.options, **request.options})


def _pick(arms: Sequence[PolicyArm], sticky: str) -> str:
    """Return the backend of the arm in whose share this unit lies."""
    total = sum(arm.weight for arm in arms)
    point = int.from_bytes(hashlib.sha256(sticky.encode()).digest()[:8]) / 2**64 * total
    for arm in arms:
        point -= arm.weight
        if point < 0:
            return arm.backend
    return next(arm.backend for arm in reversed(arms) if arm.weight)

"""The parts of the gateway that the HTTP API uses. `gateway.app` gives them; this layer may not import it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from gateway.access.service import Access
from gateway.access.signing import Signer
from gateway.clock import Clock
from gateway.engines.registry import HostedBackend
from gateway.jobs.listen.stream import Streams
from gateway.jobs.lists import Lists
from gateway.jobs.live import LiveSpeech
from gateway.jobs.service import Jobs
from gateway.library.pronunciations import Pronunciations
from gateway.library.voices import VoiceLibrary
from gateway.metrics import Metrics
from gateway.routing.endpoints import Endpoints
from gateway.routing.models import Models
from gateway.routing.router import Router
from gateway.settings import Settings


class GatewayPort(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway behind the HTTP API.

    Args:
        signer: signs and checks the URLs of audio.
        lists: pages of a tenant's jobs and webhooks.
        streams: the items of `/stream`: pieces of jobs that are being spoken.
        live: speech that is sent while it is being spoken.
        models: the model names of OpenAI's API.
        endpoints: the public names in the URL.
        router: chooses the backends of an endpoint.
        voices: the voices that tenants uploaded.
        pronunciations: the pronunciation dictionaries of tenants.
        engines: the backends that may speak.
        start: opens the database, starts engines, begins to claim.
        stop: finishes or hands back what is running, then closes everything.
        ready: returns the checks made; raises the error that keeps the gateway from accepting jobs.
    """

    signer: Signer
    clock: Clock
    settings: Settings
    access: Access
    jobs: Jobs
    lists: Lists
    streams: Streams
    live: LiveSpeech
    models: Models
    endpoints: Endpoints
    router: Router
    voices: VoiceLibrary
    pronunciations: Pronunciations
    engines: Iterable[HostedBackend]
    metrics: Metrics
    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]
    ready: Callable[[], Awaitable[Mapping[str, str]]]

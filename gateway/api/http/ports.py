"""The interface of the gateway that the HTTP API uses. `gateway.app` implements it; tests build one in memory.

The API layer may not import `gateway.app` (arrows point down), so this protocol connects the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

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


class GatewayPort(Protocol):
    """The gateway behind the HTTP API."""

    @property
    def signer(self) -> Signer:
        """Signs and checks the URLs of audio."""

    @property
    def clock(self) -> Clock:
        """The clock."""

    @property
    def settings(self) -> Settings:
        """Every setting."""

    @property
    def access(self) -> Access:
        """Keys, scopes, limits."""

    @property
    def jobs(self) -> Jobs:
        """The job service."""

    @property
    def lists(self) -> Lists:
        """Pages of a tenant's jobs and webhooks."""

    @property
    def streams(self) -> Streams:
        """The items of `/stream`: pieces of jobs that are being spoken."""

    @property
    def live(self) -> LiveSpeech:
        """Speech that is sent while it is being spoken."""

    @property
    def models(self) -> Models:
        """The model names of OpenAI's API."""

    @property
    def endpoints(self) -> Endpoints:
        """The public names in the URL."""

    @property
    def router(self) -> Router:
        """Chooses the backends of an endpoint."""

    @property
    def voices(self) -> VoiceLibrary:
        """The voices that tenants uploaded."""

    @property
    def pronunciations(self) -> Pronunciations:
        """The pronunciation dictionaries of tenants."""

    @property
    def engines(self) -> Iterable[HostedBackend]:
        """The backends that may speak."""

    @property
    def metrics(self) -> Metrics:
        """The server's counters."""

    async def start(self) -> None:
        """Open the database, start engines, begin to claim."""

    async def stop(self) -> None:
        """Finish or hand back what is running, then close everything."""

    async def ready(self) -> Mapping[str, str]:
        """Return the checks made. Raises the error that keeps the gateway from accepting jobs."""

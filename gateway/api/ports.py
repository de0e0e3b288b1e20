"""What the HTTP surface needs of the gateway behind it. `gateway.app` provides it; tests build it in memory.

The API layer may not import `gateway.app` (arrows point down), so this is where the two meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from gateway.jobs.views import EndpointInfo, Envelope, Health, JobView, Kind
from gateway.metrics import Metrics
from gateway.settings.model import Settings


class Principal(Protocol):
    """Who a key belongs to."""

    @property
    def key_id(self) -> str:
        """The public id of the key."""

    @property
    def tenant(self) -> str:
        """Whose jobs, usage and cache it sees."""


class Access(Protocol):
    """Keys, scopes and limits; all of it answers from memory."""

    def authenticate(self, header: str | None) -> Any:
        """The principal of an Authorization header. Raises Unauthorized."""

    def require(self, principal: Any, scope: str) -> None:
        """Raises Forbidden when the key lacks the scope."""

    def admit(self, principal: Any, endpoint_id: str, verb: str, characters: int) -> None:
        """Raises TooManyRequests when a limit of the key or the endpoint is reached."""


class AudioFile(msgspec.Struct, frozen=True):
    """A finished recording on disk."""

    path: Path
    mimetype: str
    size_bytes: int


class Jobs(Protocol):
    """The job service; see gateway.jobs.service."""

    async def submit(
        self, principal: Any, endpoint_id: str, envelope: Envelope, kind: Kind, idempotency_key: str | None = None
    ) -> JobView:
        """Accept a job, or answer it from the cache."""

    async def wait(self, principal: Any, endpoint_id: str, job_id: str, seconds: float) -> JobView:
        """The job once it is final, or as it is when the time is over."""

    async def status(self, principal: Any, endpoint_id: str, job_id: str, ttl_ms: int | None = None) -> JobView:
        """The job as it is."""

    async def cancel(self, principal: Any, endpoint_id: str, job_id: str) -> JobView:
        """Stop it, unless it is final."""

    async def retry(self, principal: Any, endpoint_id: str, job_id: str) -> JobView:
        """Queue a FAILED or TIMED_OUT job again."""

    async def purge(self, principal: Any, endpoint_id: str) -> int:
        """Remove what is queued; how many."""

    async def health(self, principal: Any, endpoint_id: str) -> Health:
        """Jobs, workers, backends."""

    async def endpoint_info(self, principal: Any, endpoint_id: str) -> EndpointInfo:
        """What `GET /v2/{endpoint_id}` tells."""

    def hot(self, principal: Any, endpoint_id: str, raw_input: msgspec.Raw, kind: Kind) -> bytes | None:
        """The ready answer of an in-memory hit, or None."""


class Gateway(Protocol):
    """Everything behind the surface."""

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
    def metrics(self) -> Metrics:
        """The server's counters."""

    async def start(self) -> None:
        """Open the database, start engines, begin to claim."""

    async def stop(self) -> None:
        """Finish or hand back what is running, then close everything."""

    async def ready(self) -> Mapping[str, str]:
        """What was checked; raises what keeps the gateway from accepting jobs."""

    async def open_audio(self, blob: str, expires: str, signature: str) -> AudioFile:
        """The file behind a signed address. Raises Forbidden (wrong or expired signature) and NotFound."""

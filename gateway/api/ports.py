"""What the HTTP surface needs of the gateway behind it. `gateway.app` provides it; tests build it in memory.

The API layer may not import `gateway.app` (arrows point down), so this is where the two meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from gateway.access.principal import Principal
from gateway.access.service import Access
from gateway.access.signing import Signer
from gateway.jobs.views import EndpointInfo, Envelope, Health, JobView, Kind
from gateway.metrics import Metrics
from gateway.settings import Settings


class Jobs(Protocol):
    """The job service; see gateway.jobs.service."""

    async def submit(
        self, principal: Principal, endpoint_id: str, envelope: Envelope, kind: Kind, idempotency_key: str | None = None
    ) -> JobView:
        """Accept a job, or answer it from the cache."""

    async def wait(self, principal: Principal, endpoint_id: str, job_id: str, seconds: float) -> JobView:
        """The job once it is final, or as it is when the time is over."""

    async def status(self, principal: Principal, endpoint_id: str, job_id: str, ttl_ms: int | None = None) -> JobView:
        """The job as it is."""

    async def cancel(self, principal: Principal, endpoint_id: str, job_id: str) -> JobView:
        """Stop it, unless it is final."""

    async def retry(self, principal: Principal, endpoint_id: str, job_id: str) -> JobView:
        """Queue a FAILED or TIMED_OUT job again."""

    async def purge(self, principal: Principal, endpoint_id: str) -> int:
        """Remove what is queued; how many."""

    async def health(self, principal: Principal, endpoint_id: str) -> Health:
        """Jobs, workers, backends."""

    async def endpoint_info(self, principal: Principal, endpoint_id: str) -> EndpointInfo:
        """What `GET /v2/{endpoint_id}` tells."""

    def hot(self, principal: Principal, endpoint_id: str, raw_input: msgspec.Raw, kind: Kind) -> bytes | None:
        """The ready answer of an in-memory hit, or None."""

    async def audio(self, blob_hash: str) -> tuple[Path, str, int]:
        """The file of finished audio, its media type and size in bytes. Raises NotFound."""


class Gateway(Protocol):
    """Everything behind the surface."""

    @property
    def signer(self) -> Signer:
        """Signs and checks the addresses of audio."""

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

"""A gateway in memory behind the HTTP surface: real keys and states, no database and no engine."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from support.access import signed

from gateway.access.signing import Signer
from gateway.clock import SystemClock
from gateway.errors import BadRequest, Conflict, Forbidden, NotFound, TooManyRequests, Unauthorized
from gateway.jobs.model.ids import job_id
from gateway.jobs.model.views import (
    BackendHealth,
    EndpointInfo,
    Envelope,
    Health,
    JobCounts,
    JobView,
    Kind,
    WorkerCounts,
)
from gateway.metrics import Metrics
from gateway.settings.model import Settings
from storage.files.audio import StoredAudio

KEY = "a-key-of-the-tests"
ENDPOINTS = ("default", "70sq2akye030kh")


class Caller(msgspec.Struct, frozen=True):
    """The owner of a key."""

    key_id: str
    tenant: str
    scopes: frozenset[str] = frozenset({"speak", "admin"})


class MemoryAccess:
    """An access service with keys in a dict and a limit that tests set."""

    def __init__(self) -> None:
        self.keys = {
            KEY: Caller("k1", "default"),
            "strangers-key": Caller("k2", "stranger"),
            "listen-only": Caller("k3", "default", frozenset()),
        }
        self.admitted: list[tuple[str, str, int]] = []
        self.left = 10**9

    def authenticate(self, header: str | None) -> Caller:
        found = self.keys.get((header or "").removeprefix("Bearer "))
        if found is None:
            raise Unauthorized
        return found

    def require(self, principal: Caller, scope: str) -> None:
        if scope not in principal.scopes:
            raise Forbidden(f"the key lacks the scope {scope}")

    async def admit(self, principal: Caller, endpoint_id: str, verb: str, characters: int) -> None:
        self.admit_now(principal, endpoint_id, verb, characters)

    def admit_now(self, principal: Caller, endpoint_id: str, verb: str, characters: int) -> bool:
        if self.left <= 0:
            raise TooManyRequests("the limit of 60 requests a minute is reached", 12.3)
        self.left -= 1
        self.admitted.append((endpoint_id, verb, characters))
        return True

    def enter(self, principal: Caller, endpoint_id: str, verb: str) -> None:
        """Do nothing: the number of requests is not limited."""


class MemoryJobs:
    """A job service with jobs in a dict: text `say slow` stays queued, `fail` fails, all else is spoken at once."""

    def __init__(self) -> None:
        self.jobs: dict[str, tuple[str, str, JobView]] = {}
        self.hits: dict[bytes, bytes] = {}
        self.audio_dir = Path()
        self.idempotent: dict[str, tuple[bytes, JobView]] = {}

    async def submit(
        self,
        principal: Caller,
        endpoint_id: str,
        envelope: Envelope,
        kind: Kind,
        idempotency_key: str | None = None,
        base_url: str = "",
    ) -> JobView:
        self._known(endpoint_id)
        raw = bytes(envelope.input)
        if idempotency_key is not None and idempotency_key in self.idempotent:
            body, view = self.idempotent[idempotency_key]
            if body != raw:
                raise Conflict("this Idempotency-Key came with another body before")
            return view
        if raw in self.hits and kind == "runsync":
            return msgspec.json.decode(self.hits[raw], type=JobView)
        view = self._decide(kind, raw)
        self.jobs[view.id] = (principal.tenant, endpoint_id, view)
        if idempotency_key is not None:
            self.idempotent[idempotency_key] = (raw, view)
        return view

    def _decide(self, kind: Kind, raw: bytes) -> JobView:
        unique = job_id(kind, 1_700_000_000_000)
        data = msgspec.json.decode(raw)
        if not isinstance(data, dict) or not data.get("text"):
            return JobView(unique, "FAILED", error="text is missing")
        if data["text"] == "explode":
            raise RuntimeError("a defect with a secret text inside: explode")
        if data["text"] == "refuse":
            raise BadRequest("refused as asked")
        if kind == "run" or data["text"] == "say slow":
            return JobView(unique, "IN_QUEUE")
        output = msgspec.Raw(msgspec.json.encode({"audio_base64": "AAAA", "audio_url": "/audio/x", "chunks": []}))
        return JobView(unique, "COMPLETED", delayTime=1, executionTime=2, workerId="memory", output=output)

    def _known(self, endpoint_id: str) -> None:
        if endpoint_id not in ENDPOINTS:
            raise NotFound(f"no endpoint {endpoint_id!r}; `voxgate endpoints list` shows those there are")

    def _mine(self, principal: Caller, endpoint_id: str, job: str) -> JobView:
        self._known(endpoint_id)
        tenant, endpoint, view = self.jobs.get(job, ("", "", JobView("", "")))
        if (tenant, endpoint) != (principal.tenant, endpoint_id):
            raise NotFound(f"no job {job!r} here")
        return view

    async def wait(self, principal: Caller, endpoint_id: str, job: str, seconds: float, base_url: str = "") -> JobView:
        await asyncio.sleep(0)
        return self._mine(principal, endpoint_id, job)

    async def status(
        self, principal: Caller, endpoint_id: str, job: str, ttl_ms: int | None = None, base_url: str = ""
    ) -> JobView:
        return self._mine(principal, endpoint_id, job)

    async def cancel(self, principal: Caller, endpoint_id: str, job: str) -> JobView:
        view = self._mine(principal, endpoint_id, job)
        return view if view.final else self._put(principal, endpoint_id, JobView(job, "CANCELLED"))

    async def retry(self, principal: Caller, endpoint_id: str, job: str) -> JobView:
        view = self._mine(principal, endpoint_id, job)
        if view.status not in ("FAILED", "TIMED_OUT"):
            raise Conflict(f"only FAILED and TIMED_OUT jobs can be tried again, this one is {view.status}")
        return self._put(principal, endpoint_id, JobView(job, "IN_QUEUE"))

    def _put(self, principal: Caller, endpoint_id: str, view: JobView) -> JobView:
        self.jobs[view.id] = (principal.tenant, endpoint_id, view)
        return view

    async def purge(self, principal: Caller, endpoint_id: str) -> int:
        queued = [
            key for key, (t, e, v) in self.jobs.items() if (t, e) == (principal.tenant, endpoint_id) and not v.final
        ]
        for key in queued:
            del self.jobs[key]
        return len(queued)

    async def health(self, principal: Caller, endpoint_id: str) -> Health:
        self._known(endpoint_id)
        return Health(JobCounts(), WorkerCounts(idle=1, ready=1), (BackendHealth("memory", "ready"),))

    async def endpoint_info(self, principal: Caller, endpoint_id: str) -> EndpointInfo:
        self._known(endpoint_id)
        return EndpointInfo(endpoint_id, 1, 0, 0, "memory")

    async def audio(self, blob_hash: str) -> StoredAudio:
        path = self.audio_dir / f"{blob_hash}.mp3"
        if not path.exists():
            raise NotFound("no such audio")
        data = path.read_bytes()

        async def read(first: int, last: int) -> AsyncGenerator[bytes, None]:
            yield data[first : last + 1]

        return StoredAudio(blob_hash, len(data), read)

    def hot(self, principal: Caller, endpoint_id: str, raw_input: Any, base_url: str = "") -> bytes | None:
        return self.hits.get(bytes(raw_input)) if endpoint_id in ENDPOINTS else None


class MemoryGateway:
    """The gateway that `build_app` needs, in memory."""

    def __init__(self, settings: Settings, audio_dir: Path) -> None:
        self.settings = settings
        self.access = MemoryAccess()
        self.jobs = MemoryJobs()
        self.metrics = Metrics()
        self.engines = ()
        self.started: list[str] = []
        self.trouble: Exception | None = None
        self.signer = Signer(b"sixteen bytes or more", SystemClock())
        self.jobs.audio_dir = audio_dir

    async def start(self) -> None:
        self.started.append("start")

    async def stop(self) -> None:
        self.started.append("stop")

    async def ready(self) -> Mapping[str, str]:
        if self.trouble is not None:
            raise self.trouble
        return {"database": "ok"}

    def record(self, audio: bytes) -> str:
        """Store audio and return its URL."""
        name = hashlib.sha256(audio).hexdigest() + ".mp3"
        (self.jobs.audio_dir / name).write_bytes(audio)
        return signed(self.signer, f"/audio/{name}", SystemClock().now_ms() // 1000 + 60)

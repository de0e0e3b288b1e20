"""The request and answer bodies of the job API. Field names are RunPod's (camelCase where theirs are)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from gateway.errors import BadRequest

Kind: TypeAlias = Literal["run", "runsync"]

EXECUTION_TIMEOUT_MS = (5_000, 604_800_000)
TTL_MS = (10_000, 604_800_000)


class Policy(msgspec.Struct, frozen=True):
    """Limits of one job; milliseconds.

    Args:
        executionTimeout: 5,000 to 604,800,000; counts only while the job is IN_PROGRESS.
        ttl: 10,000 to 604,800,000 from submission, queue and run together.
        lowPriority: run after all normal jobs.
    """

    executionTimeout: int | None = None
    ttl: int | None = None
    lowPriority: bool | None = None


class Envelope(msgspec.Struct, frozen=True):
    """The body of `/run` and `/runsync`; unknown keys are ignored, as RunPod does."""

    input: msgspec.Raw | UnsetType = UNSET
    webhook: str | None = None
    policy: Policy | None = None
    s3Config: msgspec.Raw | UnsetType = UNSET


class Progress(msgspec.Struct, frozen=True):
    """The progress of a job."""

    chunks_done: int
    chunks_total: int


class JobView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job as `/status` answers it. `output` is encoded JSON; times are whole milliseconds."""

    id: str
    status: str
    delayTime: int | UnsetType = UNSET
    executionTime: int | UnsetType = UNSET
    workerId: str | UnsetType = UNSET
    output: msgspec.Raw | UnsetType = UNSET
    error: str | UnsetType = UNSET
    retries: int | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    progress: Progress | UnsetType = UNSET

    @property
    def final(self) -> bool:
        """True if this state never changes."""
        return self.status not in ("IN_QUEUE", "IN_PROGRESS")


class JobCounts(msgspec.Struct, frozen=True):
    """Jobs of an endpoint by state; finished jobs are counted while they are kept."""

    completed: int = 0
    failed: int = 0
    inProgress: int = 0
    inQueue: int = 0
    retried: int = 0


class WorkerCounts(msgspec.Struct, frozen=True):
    """Engine workers of this server that an endpoint may use."""

    idle: int = 0
    initializing: int = 0
    ready: int = 0
    running: int = 0
    throttled: int = 0
    unhealthy: int = 0


class BackendHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """One backend: `ready`, `idle` (starts with the next job), `loading`, `unavailable`, `missing` or `broken`."""

    name: str
    state: str
    reason: str = ""
    cure: str = ""
    loading_percent: int | None = None
    restarts: int = 0
    last_error: str = ""


class Health(msgspec.Struct, frozen=True):
    """The answer of `/health`."""

    jobs: JobCounts
    workers: WorkerCounts
    backends: tuple[BackendHealth, ...] = ()


class EndpointInfo(msgspec.Struct, frozen=True):
    """The answer of `GET /v2/{endpoint_id}`."""

    id: str
    activeWorkers: int
    jobsInQueue: int
    jobsInProgress: int
    backend: str


def read_policy(envelope: Envelope) -> Policy:
    """Return the envelope's policy.

    Raises:
        BadRequest: a value out of range, or `s3Config`.
    """
    if envelope.s3Config is not UNSET and bytes(envelope.s3Config) != b"null":
        raise BadRequest(
            "s3Config is not accepted: this server never takes credentials; fetch output.audio_url instead"
        )
    policy = envelope.policy or Policy()
    for name, value, (low, high) in (
        ("executionTimeout", policy.executionTimeout, EXECUTION_TIMEOUT_MS),
        ("ttl", policy.ttl, TTL_MS),
    ):
        if value is not None and not low <= value <= high:
            raise BadRequest(f"policy.{name} is invalid; must be between {low} and {high} milliseconds, got {value}")
    return policy

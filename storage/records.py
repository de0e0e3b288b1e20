"""What crosses the border of storage: frozen, plain, never an ORM row."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal

import msgspec


class JobState(StrEnum):
    """Where a job stands; the last four are final, and a final state is final."""

    IN_QUEUE = "IN_QUEUE"  # accepted, waiting to be claimed
    IN_PROGRESS = "IN_PROGRESS"  # claimed under a lease by one owner
    COMPLETED = "COMPLETED"  # spoken; its audio is in the store
    FAILED = "FAILED"  # ended by its input, or after too many failures
    CANCELLED = "CANCELLED"  # ended by its caller
    TIMED_OUT = "TIMED_OUT"  # ended by executionTimeout or ttl; its takes stay, a retry resumes

    @property
    def final(self) -> bool:
        """Whether nothing but a retry changes it any more."""
        return self not in (JobState.IN_QUEUE, JobState.IN_PROGRESS)


class Lane(IntEnum):
    """The line of the queue in which a job waits; the order is that of claims."""

    SHORT = 0  # at most two chunks
    LONG = 1  # everything else
    LOW = 2  # policy.lowPriority


class JobRecord(msgspec.Struct, frozen=True):
    """One row of jobs, its fields in the order of the columns.

    Args:
        backend: the planned arm while queued, the one that spoke once COMPLETED.
        chars: length of the text, what fairness and usage count.
        flight_key: the planned cache key; one running job per flight, the others follow it.
        request_id: of the request that brought the job, for its log lines; at most 64 characters. None where there was
            no request, and for hits answered from memory.
        expires_at_ms: end of the ttl.
        available_ms: not claimed before; 0 is at once, whatever the clock says.
        attempt: the fence: plus one at each claim.
        failures: plus one at each crash or retryable failure; 0 again when a take is stored.
        retries: how often the job went back to the queue, for people.
        beat: plus one at each heartbeat of the lease.
        stream_cursor: items that `/stream` has given out.
        stream_sending: names the answer that is on its way with the items from the cursor on.
        output: JSON without audio.
        request: the input as JSON, "" where it was left out (`JobStore.peek`).
        lane: its line in the queue; LONG where it was left out (`JobStore.peek`).
        deaths: servers in a row that died, or fell silent, while they ran it; 0 again when a take is stored, and where
            it was left out. A job with any is a suspect: it runs alone in its server.
    """

    id: str
    tenant: str
    endpoint_id: str
    key_id: str
    kind: Literal["run", "runsync"]
    state: JobState
    backend: str
    chars: int
    created_ms: int
    available_ms: int
    low_priority: bool = False
    flight_key: str | None = None
    cache_key: str | None = None
    webhook: str | None = None
    request_id: str | None = None
    execution_timeout_ms: int | None = None
    expires_at_ms: int | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
    retain_until_ms: int | None = None
    delay_ms: int = 0
    execution_ms: int = 0
    attempt: int = 0
    failures: int = 0
    retries: int = 0
    owner: str | None = None
    beat: int = 0
    chunks_done: int = 0
    chunks_total: int = 0
    blob_hash: str | None = None
    error: str | None = None
    error_code: str | None = None
    worker_id: str | None = None
    cancel_requested: bool = False
    stream_cursor: int = 0
    stream_sending: str | None = None
    output: str | None = None
    request: str = ""
    lane: Lane = Lane.LONG
    deaths: int = 0


class Accepted(msgspec.Struct, frozen=True):
    """How a job was accepted: the job as it stands, or the one its idempotency key made before.

    Args:
        claimed: whether the caller holds its lease.
        cached: whether its audio was finished when it was claimed.
    """

    job: JobRecord
    claimed: bool = False
    cached: bool = False


class Idempotency(msgspec.Struct, frozen=True):
    """An Idempotency-Key and the hash of the body it came with; unique per tenant and endpoint."""

    key: str
    body_hash: str


class WaitingJob(msgspec.Struct, frozen=True):
    """A job that could be claimed now."""

    id: str
    tenant: str
    chars: int
    lane: Lane
    created_ms: int
    backend: str

    @property
    def line(self) -> Line:
        """Where it waits."""
        return Line(self.backend, self.tenant, self.lane)


class Line(msgspec.Struct, frozen=True):
    """The jobs of one tenant that wait for one backend in one lane; the oldest is first."""

    backend: str
    tenant: str
    lane: Lane


class Place(msgspec.Struct, frozen=True):
    """A job's place in its line."""

    created_ms: int
    job_id: str


class Heads(msgspec.Struct, frozen=True):
    """The beginnings of the lines.

    Args:
        candidates: by lane, then age.
        cut: lines of which some jobs were looked at, and not enough of them can be claimed now: behind which place
            the look goes on (`JobLeases.behind`).
    """

    candidates: list[WaitingJob]
    cut: dict[Line, Place]


class Lease(msgspec.Struct, frozen=True):
    """What an observer sees of a running job; a lease is dead when (owner, beat) has not changed for lease_s."""

    job_id: str
    owner: str
    beat: int
    attempt: int
    request_id: str | None = None


class BlobRecord(msgspec.Struct, frozen=True):
    """A file of the audio store: its SHA-256 in hex, its size, its suffix with the dot.

    `spool` is where the bytes still lie until `AudioStore.settle`, "" once settled or read from a row.
    """

    hash: str
    size_bytes: int
    suffix: str
    spool: str = ""


class TakeRecord(msgspec.Struct, frozen=True):
    """The PCM of one chunk under its take key.

    Args:
        job_id: the job that spoke it.
        tenant, voice_hash: whose own voice spoke it, so that it goes with that voice; None for a backend's voice.
    """

    key: str
    blob_hash: str
    samples: int
    sample_rate: int
    size_bytes: int
    gain_db: float = 0.0
    warnings: tuple[str, ...] = ()
    job_id: str = ""
    tenant: str | None = None
    voice_hash: str | None = None


class CacheEntryRecord(msgspec.Struct, frozen=True):
    """Finished audio under its cache key; `output` is the job's output JSON without audio.

    Args:
        voice_hash: content hash of the tenant's own voice, so that it goes with that voice; None for a backend's.
    """

    key: str
    scope: str
    tenant: str
    backend: str
    revision: str
    voice: str
    format: str
    blob_hash: str
    size_bytes: int
    output: str
    created_ms: int
    last_used_ms: int
    hits: int = 0
    voice_hash: str | None = None


class UsageDelta(msgspec.Struct, frozen=True):
    """What to add to the usage of a job's key."""

    characters: int = 0
    audio_ms: int = 0
    jobs: int = 1
    cache_hits: int = 0
    cost_micro_usd: int = 0


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended well.

    Args:
        output: JSON without audio; `follower_output` the same with `cache_hit` true.
        blob: its audio, as `AudioStore.put_file` gave it.
        retain_until_ms: None keeps it as long as its kind is kept.
        cache_key: the key of what was spoken, where that differs from the flight's.
    """

    output: str
    follower_output: str
    blob: BlobRecord
    cache_entry: CacheEntryRecord | None
    cache_key: str | None
    delay_ms: int
    execution_ms: int
    backend: str
    worker_id: str
    usage: UsageDelta
    now: int
    retain_until_ms: int | None = None


class Completed(msgspec.Struct, frozen=True):
    """`ok` is False when the lease was lost and nothing was written; `followers` ended with the job."""

    ok: bool
    followers: tuple[str, ...] = ()


class Retention(msgspec.Struct, frozen=True):
    """How long finished jobs are kept, by kind."""

    run_ms: int = 7 * 86_400_000
    runsync_ms: int = 3_600_000

    def until(self, now: int) -> dict[str, int]:
        """Parameters of statements that end jobs: the UTC ms until which a job that ends now is kept."""
        return {"keep_run": now + self.run_ms, "keep_runsync": now + self.runsync_ms}


class JobEventRecord(msgspec.Struct, frozen=True):
    """One step in the life of a job."""

    job_id: str
    at_ms: int
    event: str
    attempt: int
    owner: str | None
    detail: str | None

"""The records that storage takes and returns: frozen structs, never ORM rows."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal

import msgspec


class JobState(StrEnum):
    """The state of a job; the last four are final and do not change, except by a retry."""

    IN_QUEUE = "IN_QUEUE"  # accepted, waiting to be claimed
    IN_PROGRESS = "IN_PROGRESS"  # claimed under a lease by one owner
    COMPLETED = "COMPLETED"  # spoken; its audio is in the store
    FAILED = "FAILED"  # ended by its input, or after too many failures
    CANCELLED = "CANCELLED"  # ended by its caller
    TIMED_OUT = "TIMED_OUT"  # ended by executionTimeout or ttl; its takes stay, a retry resumes

    @property
    def final(self) -> bool:
        """Return whether only a retry can change the state."""
        return self not in (JobState.IN_QUEUE, JobState.IN_PROGRESS)


class Lane(IntEnum):
    """The lane in which a job waits; lanes are claimed in this order."""

    SHORT = 0  # at most two chunks
    LONG = 1  # everything else
    LOW = 2  # policy.lowPriority


class JobRecord(msgspec.Struct, frozen=True):
    """One row of jobs; its fields are the columns that are used, in their order.

    Args:
        backend: the planned arm while queued, the backend that spoke once COMPLETED.
        chars: length of the text; fairness and usage count it.
        flight_key: the planned cache key; one job per flight runs, the others follow it.
        request_id: the id of the request that submitted the job, for its log lines; at most 64 characters. None without
            a request, and for cache hits answered from memory.
        expires_at_ms: end of the ttl.
        available_ms: the job is not claimed before this time; 0 means at once, whatever the clock says.
        attempt: the fence of the lease; raised by one at each claim.
        failures: raised by one at each crash or retryable failure; 0 again when a take is stored.
        retries: the number of times the job went back to the queue, shown to people.
        beat: raised by one at each heartbeat of the lease.
        stream_cursor: the number of items that `/stream` has sent.
        stream_sending: the token of the `/stream` answer that is sending the items from the cursor on.
        output: JSON without audio.
        request: the input as JSON; "" in a record that leaves it out (`JobStore.peek`).
        lane: the job's lane; LONG in a record that leaves it out (`JobStore.peek`).
        deaths: the number of servers in a row that died or fell silent while they ran the job; 0 again when a take is
            stored; 0 in a record that leaves it out. A job with deaths is a suspect: it runs alone in its server.
        arms: the backends in the order in which they are tried; () in a record that leaves it out, and in rows of
            versions before.
        unit: what the split of its endpoint's traffic is sticky by; "" without a split, or left out.
        purpose: what it is spoken for; `caller` in a record that leaves it out.
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
    stream_cursor: int = 0
    stream_sending: str | None = None
    output: str | None = None
    request: str = ""
    lane: Lane = Lane.LONG
    deaths: int = 0
    arms: tuple[str, ...] = ()
    unit: str = ""
    purpose: Literal["caller", "shadow", "sample"] = "caller"


class Accepted(msgspec.Struct, frozen=True):
    """The result of a submit: the new job, or the job that its idempotency key made before.

    Args:
        claimed: whether the caller holds the job's lease.
        cached: whether the job's audio was in the cache when it was claimed.
    """

    job: JobRecord
    claimed: bool = False
    cached: bool = False


class Idempotency(msgspec.Struct, frozen=True):
    """An Idempotency-Key and the hash of its request body; unique per tenant and endpoint."""

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
        """Return the line in which the job waits."""
        return Line(self.backend, self.tenant, self.lane)


class Line(msgspec.Struct, frozen=True):
    """A line: the jobs of one tenant that wait for one backend in one lane, oldest first."""

    backend: str
    tenant: str
    lane: Lane


class Place(msgspec.Struct, frozen=True):
    """A job's place in its line."""

    created_ms: int
    job_id: str


class Ring(msgspec.Struct, frozen=True):
    """The lines of one backend in one lane, ordered by tenant; the first follows the last."""

    backend: str
    lane: Lane


class Heads(msgspec.Struct, frozen=True):
    """The heads of some lines.

    Args:
        candidates: jobs that can be claimed, by lane, then age.
        cut: lines whose read jobs hold too few candidates: the place behind which to read on (`JobLeases.behind`).
        last: for rings with further lines, the tenant of the last line that was read.
    """

    candidates: list[WaitingJob]
    cut: dict[Line, Place]
    last: dict[Ring, str]


class Lease(msgspec.Struct, frozen=True):
    """The lease of a running job; it is dead when (owner, beat) has not changed for lease_s."""

    job_id: str
    owner: str
    beat: int
    attempt: int
    request_id: str | None = None


class BlobRecord(msgspec.Struct, frozen=True):
    """A file of the audio store: its SHA-256 in hex, its size, its suffix with the dot.

    `spool` is the path of the spool that is kept until `AudioStore.settle`; "" once settled or read from a row.
    """

    hash: str
    size_bytes: int
    suffix: str
    spool: str = ""


class TakeRecord(msgspec.Struct, frozen=True):
    """A take: the PCM of one chunk under its take key.

    Args:
        job_id: the job that spoke it.
        tenant, voice_hash: the tenant and its own voice that spoke; the take is deleted with that voice. None for a
            backend's voice.
        words: its word times as JSON; None if it has none.
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
    words: str | None = None


class CacheEntryRecord(msgspec.Struct, frozen=True):
    """A cache entry: finished audio under its cache key; `output` is the job's output JSON without audio.

    Args:
        voice_hash: content hash of the tenant's own voice; the entry is deleted with that voice. None for a backend's.
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
    """The amounts to add to the usage of a job's key."""

    characters: int = 0
    audio_ms: int = 0
    jobs: int = 1
    cache_hits: int = 0
    cost_micro_usd: int = 0


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a COMPLETED job.

    Args:
        output: JSON without audio; `follower_output` is the same with `cache_hit` true.
        blob: the audio, as returned by `AudioStore.put_file`.
        words: its word times, if they are in a file of their own.
        cache_key: the key of the spoken audio, if it differs from the flight key.
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
    words: BlobRecord | None = None


class Completed(msgspec.Struct, frozen=True):
    """The outcome of ending a job: `ok` is False if the lease was lost and nothing was written; `followers` are the ids
    of jobs that ended with it."""

    ok: bool
    followers: tuple[str, ...] = ()


class Retention(msgspec.Struct, frozen=True):
    """The time that finished jobs are kept, by kind."""

    run_ms: int = 7 * 86_400_000
    runsync_ms: int = 3_600_000

    def end(self, kind: Literal["run", "runsync"], finished_ms: int) -> int:
        """Return the UTC ms until which a job of this kind is kept that ended at `finished_ms`."""
        return finished_ms + (self.runsync_ms if kind == "runsync" else self.run_ms)

    def until(self, now: int) -> dict[str, int]:
        """Return parameters for statements that end jobs: the UTC ms until which a job that ends now is kept."""
        return {"keep_run": self.end("run", now), "keep_runsync": self.end("runsync", now)}

"""The database schema, the same for SQLite and PostgreSQL.

Times are UTC milliseconds since 1970, sizes are bytes, JSON documents are text written by msgspec. Columns of jobs
are in the order of `JobRecord`: rows are decoded by position. Columns that a migration added to `jobs` come after its
long texts; SQLite must walk a row's overflow pages to reach them, so frequent reads leave them out.

Foreign keys to `blobs` guarantee that no row refers to a missing file: the sweeper deletes a blob's row before its
file, and cannot delete it while a row refers to it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Serial = BigInteger().with_variant(Integer(), "sqlite")
"""An auto-incremented primary key; SQLite increments only columns of exactly INTEGER type."""


Words = Text().with_variant(Text(collation="C"), "postgresql")
"""Text compared by its bytes on both databases: the order of ids must not depend on a language."""


class Base(DeclarativeBase):
    """The base class of the tables. Names every constraint, so that migrations can refer to it on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Words, int: BigInteger(), bool: Boolean(), float: Float()}  # noqa: RUF012 - SQLAlchemy's name


class EndpointRow(Base):
    """An endpoint: the public name in the URL; owns a route policy, defaults and limits."""

    __tablename__ = "endpoints"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str | None] = mapped_column(default=None)
    created_ms: Mapped[int]
    updated_ms: Mapped[int]
    policy: Mapped[str] = mapped_column(default="{}")
    defaults: Mapped[str] = mapped_column(default="{}")
    limits: Mapped[str] = mapped_column(default="{}")


class ApiKeyRow(Base):
    """An API key. Looked up by its public id; only a digest of its secret is stored."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    tenant: Mapped[str]
    env: Mapped[str]
    scopes: Mapped[str]
    name: Mapped[str]
    created_ms: Mapped[int]
    expires_ms: Mapped[int | None]
    revoked_ms: Mapped[int | None]
    last_used_ms: Mapped[int | None]
    requests_per_minute: Mapped[int | None]
    characters_per_day: Mapped[int | None]
    rotated_from: Mapped[str | None]


class BlobRow(Base):
    """A file of the audio store.

    `loose_ms`: the time since which the blob may be unreferenced; NULL once the sweeper has seen a reference. A put
    sets it to the time of the put. Triggers set it to the database's time in the transaction that drops a reference,
    whatever statement or cascade does that. A sweep replaces a time in the future, and the 0 of an upgrade, by its
    own. `touched_ms` is not used, and 0: an upgrade removes no column, since that would copy the table.
    """

    __tablename__ = "blobs"
    hash: Mapped[str] = mapped_column(primary_key=True)
    suffix: Mapped[str]
    size_bytes: Mapped[int]
    touched_ms: Mapped[int]
    loose_ms: Mapped[int | None] = mapped_column(server_default=text("0"))
    __table_args__ = (
        Index("ix_blobs_loose", "loose_ms", "hash", sqlite_where=text("loose_ms IS NOT NULL"),
              postgresql_where=text("loose_ms IS NOT NULL")),
    )  # fmt: skip


class DyingBlob(Base):
    """A blob that the sweeper has removed from `blobs`, so that no row can refer to it; its file is deleted next.

    A put of the same bytes makes a row in `blobs` again; the sweeper checks for it after it removed the file.
    """

    __tablename__ = "dying_blobs"
    hash: Mapped[str] = mapped_column(primary_key=True)
    suffix: Mapped[str]
    size_bytes: Mapped[int]


class JobRow(Base):
    """An accepted durable request. `cancel_requested` is not used, and FALSE: an upgrade removes no column. `arms` are
    names with a space between."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    endpoint_id: Mapped[str]
    key_id: Mapped[str]
    kind: Mapped[str]
    state: Mapped[str]
    backend: Mapped[str]
    chars: Mapped[int]
    created_ms: Mapped[int]
    available_ms: Mapped[int]
    low_priority: Mapped[bool]
    flight_key: Mapped[str | None]
    cache_key: Mapped[str | None]
    webhook: Mapped[str | None]
    request_id: Mapped[str | None]
    execution_timeout_ms: Mapped[int | None]
    expires_at_ms: Mapped[int | None]
    started_ms: Mapped[int | None]
    finished_ms: Mapped[int | None]
    retain_until_ms: Mapped[int | None]
    delay_ms: Mapped[int]
    execution_ms: Mapped[int]
    attempt: Mapped[int]
    failures: Mapped[int]
    retries: Mapped[int]
    owner: Mapped[str | None]
    beat: Mapped[int]
    chunks_done: Mapped[int]
    chunks_total: Mapped[int]
    blob_hash: Mapped[str | None] = mapped_column(ForeignKey("blobs.hash"))
    error: Mapped[str | None]
    error_code: Mapped[str | None]
    worker_id: Mapped[str | None]
    cancel_requested: Mapped[bool]
    stream_cursor: Mapped[int]
    stream_sending: Mapped[str | None]
    output: Mapped[str | None]
    request: Mapped[str]
    lane: Mapped[int] = mapped_column(server_default=text("1"))
    deaths: Mapped[int] = mapped_column(server_default=text("0"))
    arms: Mapped[str] = mapped_column(server_default=text("''"))
    unit: Mapped[str] = mapped_column(server_default=text("''"))
    purpose: Mapped[str] = mapped_column(server_default=text("'caller'"))
    __table_args__ = (
        # One leader per flight: this index makes two syntheses of one utterance impossible.
        Index("uq_jobs_flight", "flight_key", unique=True, sqlite_where=text("state = 'IN_PROGRESS'"),
              postgresql_where=text("state = 'IN_PROGRESS'")),
        Index("ix_jobs_running", "owner", sqlite_where=text("state = 'IN_PROGRESS'"),
              postgresql_where=text("state = 'IN_PROGRESS'")),
        # The queue: one lookup finds the first job of a backend, lane and tenant.
        Index("ix_jobs_line", "backend", "lane", "tenant", "created_ms", "id",
              sqlite_where=text("state = 'IN_QUEUE'"), postgresql_where=text("state = 'IN_QUEUE'")),
        Index("ix_jobs_ttl", "expires_at_ms",
              sqlite_where=text("state = 'IN_QUEUE'"), postgresql_where=text("state = 'IN_QUEUE'")),
        Index("ix_jobs_followers", "flight_key", "low_priority", "tenant", "created_ms", "id",
              sqlite_where=text("state = 'IN_QUEUE'"), postgresql_where=text("state = 'IN_QUEUE'")),
        # Suspects, during which a server died, run alone: searched once a second, and skipped by all other searches.
        Index("ix_jobs_suspects", "deaths", "id", sqlite_where=text("state = 'IN_QUEUE' AND deaths > 0"),
              postgresql_where=text("state = 'IN_QUEUE' AND deaths > 0")),
        Index("ix_jobs_retained", "retain_until_ms", sqlite_where=text("retain_until_ms IS NOT NULL"),
              postgresql_where=text("retain_until_ms IS NOT NULL")),
        Index("ix_jobs_blob_hash", "blob_hash", sqlite_where=text("blob_hash IS NOT NULL"),
              postgresql_where=text("blob_hash IS NOT NULL")),
        # Pages of a tenant's jobs; includes `retries`, so that counting finished jobs reads no table row.
        Index("ix_jobs_pages", "tenant", "endpoint_id", "state", "id", "retries"),
    )  # fmt: skip


class JobCountRow(Base):
    """The number of jobs of an endpoint that are IN_QUEUE or IN_PROGRESS: the sum of `n` over its shards.

    Triggers on `jobs` update it, so that it is exact whatever statement, replay, rollback or cascade changes a job. On
    PostgreSQL each connection mostly counts in its own shard, so that servers do not wait for each other.
    """

    __tablename__ = "job_counts"
    endpoint_id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int]


class JobEventRow(Base):
    """The audit trail of a job: one row per step that changed its state or its lease."""

    __tablename__ = "job_events"
    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    at_ms: Mapped[int]
    event: Mapped[str]
    attempt: Mapped[int]
    owner: Mapped[str | None]
    detail: Mapped[str | None]
    __table_args__ = (Index("ix_job_events_job_id", "job_id"),)


class TakeRow(Base):
    """A take: the PCM of one chunk, as 16-bit FLAC. `job_id` is the job that spoke it; `tenant` and `voice_hash` are
    set only for a tenant's own voice."""

    __tablename__ = "takes"
    key: Mapped[str] = mapped_column(primary_key=True)
    blob_hash: Mapped[str] = mapped_column(ForeignKey("blobs.hash"))
    samples: Mapped[int]
    sample_rate: Mapped[int]
    size_bytes: Mapped[int]
    gain_db: Mapped[float]
    warnings: Mapped[str]
    created_ms: Mapped[int]
    last_used_ms: Mapped[int]
    job_id: Mapped[str]
    tenant: Mapped[str | None]
    voice_hash: Mapped[str | None]
    words: Mapped[str | None]
    __table_args__ = (
        Index("ix_takes_last_used_ms", "last_used_ms", "size_bytes"),
        Index("ix_takes_blob_hash", "blob_hash"),
        Index("ix_takes_voice", "tenant", "voice_hash", sqlite_where=text("voice_hash IS NOT NULL"),
              postgresql_where=text("voice_hash IS NOT NULL")),
    )  # fmt: skip


class WordTimesRow(Base):
    """The file with the word times of finished audio. It is kept as long as the audio's blob."""

    __tablename__ = "word_times"
    audio_hash: Mapped[str] = mapped_column(ForeignKey("blobs.hash", ondelete="CASCADE"), primary_key=True)
    blob_hash: Mapped[str] = mapped_column(ForeignKey("blobs.hash"), primary_key=True)
    __table_args__ = (Index("ix_word_times_blob_hash", "blob_hash"),)


class TakePinRow(Base):
    """A pin: the take is not evicted while its job is unfinished. Pins outlive job and take for a while."""

    __tablename__ = "take_pins"
    take_key: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(primary_key=True)
    __table_args__ = (Index("ix_take_pins_job_id", "job_id"),)


class MarkRow(Base):
    """A mark: the number of changes to a topic's rows that servers hold in memory (`storage/db/marks.py`).

    On SQLite `time` is the servers' time at the last sweep, and `durable` a counter that the writer changes.
    """

    __tablename__ = "marks"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int]


class CacheEntryRow(Base):
    """A cache entry: finished audio under its cache key. `voice_hash` is set only for a tenant's own voice."""

    __tablename__ = "cache_entries"
    key: Mapped[str] = mapped_column(primary_key=True)
    scope: Mapped[str]
    tenant: Mapped[str]
    backend: Mapped[str]
    revision: Mapped[str]
    voice: Mapped[str]
    format: Mapped[str]
    blob_hash: Mapped[str] = mapped_column(ForeignKey("blobs.hash"))
    size_bytes: Mapped[int]
    output: Mapped[str]
    created_ms: Mapped[int]
    last_used_ms: Mapped[int]
    hits: Mapped[int]
    voice_hash: Mapped[str | None]
    __table_args__ = (
        Index("ix_cache_entries_last_used_ms", "last_used_ms", "size_bytes"),
        Index("ix_cache_entries_blob_hash", "blob_hash"),
        Index("ix_cache_entries_voice", "tenant", "voice_hash", sqlite_where=text("voice_hash IS NOT NULL"),
              postgresql_where=text("voice_hash IS NOT NULL")),
    )  # fmt: skip


class VoiceRow(Base):
    """A tenant's own voice."""

    __tablename__ = "voices"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    name: Mapped[str]
    language: Mapped[str | None]
    content_hash: Mapped[str]
    blob_hash: Mapped[str | None] = mapped_column(ForeignKey("blobs.hash"))
    details: Mapped[str] = mapped_column(default="{}")
    created_ms: Mapped[int]
    __table_args__ = (UniqueConstraint("tenant", "name"), Index("ix_voices_blob_hash", "blob_hash"))


class PronunciationsRow(Base):
    """A tenant's pronunciation dictionary: one document, replaced as a whole; each change raises its version by one."""

    __tablename__ = "pronunciations"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    updated_ms: Mapped[int]
    entries: Mapped[str]


class UsageRow(Base):
    """The usage of a key on one day (UTC, ISO 8601). Cost is in whole millionths of a US dollar, so that sums are
    exact."""

    __tablename__ = "usage"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(primary_key=True)
    backend: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[str] = mapped_column(primary_key=True)
    characters: Mapped[int]
    audio_ms: Mapped[int]
    jobs: Mapped[int]
    cache_hits: Mapped[int]
    cost_micro_usd: Mapped[int]


class LimitWindowRow(Base):
    """The part of a limit's window that all servers together have leased."""

    __tablename__ = "limit_windows"
    key_id: Mapped[str] = mapped_column(primary_key=True)
    window: Mapped[str] = mapped_column(primary_key=True)
    start_ms: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    used: Mapped[int]


class WebhookDeliveryRow(Base):
    """A webhook to deliver: written with the job's final state, in the same transaction."""

    __tablename__ = "webhook_deliveries"
    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    tenant: Mapped[str]
    receiver: Mapped[str]
    url: Mapped[str]
    state: Mapped[str]
    tries: Mapped[int]
    due_ms: Mapped[int]
    created_ms: Mapped[int]
    last_status: Mapped[int | None]
    last_error: Mapped[str | None]
    endpoint_id: Mapped[str] = mapped_column(server_default=text("''"))
    __table_args__ = (
        Index("ix_webhook_deliveries_pages", "tenant", "endpoint_id", "state", "id"),
        # Skipping the deliveries of a receiver that hangs reads only this index.
        Index("ix_webhook_deliveries_due_ms", "due_ms", "tenant", "receiver", sqlite_where=text("state = 'PENDING'"),
              postgresql_where=text("state = 'PENDING'")),
        Index("ix_webhook_deliveries_job_id", "job_id"),
    )  # fmt: skip


class WriterMarkRow(Base):
    """The last group that a server's writer has committed; read when a COMMIT got no answer."""

    __tablename__ = "writer_marks"
    writer: Mapped[str] = mapped_column(primary_key=True)
    mark: Mapped[int]
    at_ms: Mapped[int]


class IdempotencyKeyRow(Base):
    """An idempotency key, the job it made, and the hash of its request body."""

    __tablename__ = "idempotency_keys"
    tenant: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[str]
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    created_ms: Mapped[int]
    __table_args__ = (Index("ix_idempotency_keys_job_id", "job_id"),)


class RouteChangeRow(Base):
    """A change of an endpoint's route policy: actor, time and reason."""

    __tablename__ = "route_changes"
    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    endpoint_id: Mapped[str]
    at_ms: Mapped[int]
    actor: Mapped[str]
    reason: Mapped[str]
    before: Mapped[str]
    after: Mapped[str]
    __table_args__ = (Index("ix_route_changes_endpoint_id", "endpoint_id", "id"),)


class OutcomeRow(Base):
    """The outcome of one attempt of an arm, at an endpoint whose policy has several; see `storage.outcomes.Outcome`.

    `stratum`: the stratum of a ramp that counted it; NULL before.
    """

    __tablename__ = "outcomes"
    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    at_ms: Mapped[int]
    endpoint_id: Mapped[str]
    policy: Mapped[str]
    arm: Mapped[str]
    unit: Mapped[str]
    step: Mapped[int]
    failed: Mapped[bool]
    fell_back: Mapped[bool]
    slow: Mapped[bool]
    bad_take: Mapped[bool]
    comparable: Mapped[bool]
    stratum: Mapped[int | None]
    __table_args__ = (Index("ix_outcomes_at_ms", "at_ms"),)


class OutcomeHourRow(Base):
    """Old outcomes of one arm in one hour, summed."""

    __tablename__ = "outcome_hours"
    endpoint_id: Mapped[str] = mapped_column(primary_key=True)
    policy: Mapped[str] = mapped_column(primary_key=True)
    arm: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    hour_ms: Mapped[int] = mapped_column(primary_key=True)
    attempts: Mapped[int]
    failed: Mapped[int]
    fell_back: Mapped[int]
    slow: Mapped[int]
    bad_take: Mapped[int]


class ComparisonRow(Base):
    """A comparison: the same utterance by several contenders."""

    __tablename__ = "comparisons"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    endpoint_id: Mapped[str]
    state: Mapped[str]
    created_ms: Mapped[int]
    finished_ms: Mapped[int | None]
    request: Mapped[str]
    __table_args__ = (Index("ix_comparisons_tenant", "tenant", "id"),)


class SampleRow(Base):
    """A sample: one contender's audio in a comparison."""

    __tablename__ = "samples"
    id: Mapped[str] = mapped_column(primary_key=True)
    comparison_id: Mapped[str] = mapped_column(ForeignKey("comparisons.id", ondelete="CASCADE"))
    backend: Mapped[str]
    voice: Mapped[str]
    state: Mapped[str]
    blob_hash: Mapped[str | None] = mapped_column(ForeignKey("blobs.hash"))
    job_id: Mapped[str | None]
    created_ms: Mapped[int]
    measures: Mapped[str] = mapped_column(default="{}")
    __table_args__ = (
        Index("ix_samples_comparison_id", "comparison_id"),
        Index("ix_samples_blob_hash", "blob_hash"),
    )


class VoteRow(Base):
    """A listener's vote; `winner_id` and `loser_id` are samples, `choice` is `prefer`, `tie` or `bad`."""

    __tablename__ = "votes"
    id: Mapped[str] = mapped_column(primary_key=True)
    comparison_id: Mapped[str] = mapped_column(ForeignKey("comparisons.id", ondelete="CASCADE"))
    winner_id: Mapped[str] = mapped_column(ForeignKey("samples.id", ondelete="CASCADE"))
    loser_id: Mapped[str] = mapped_column(ForeignKey("samples.id", ondelete="CASCADE"))
    choice: Mapped[str]
    listener: Mapped[str]
    at_ms: Mapped[int]
    __table_args__ = (Index("ix_votes_comparison_id", "comparison_id"),)

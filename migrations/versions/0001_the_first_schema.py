"""The first schema."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Compared by bytes on PostgreSQL too, whatever the collation of its database.
_words = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, _words, nullable=null)


def _int(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=null)


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Apply the migration."""
    op.create_table(
        "api_keys",
        _text("id"),
        _text("digest"),
        _text("tenant"),
        _text("env"),
        _text("scopes"),
        _text("name"),
        _int("created_ms"),
        _int("expires_ms", null=True),
        _int("revoked_ms", null=True),
        _int("last_used_ms", null=True),
        _int("requests_per_minute", null=True),
        _int("characters_per_day", null=True),
        _text("rotated_from", null=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_table(
        "blobs",
        _text("hash"),
        _text("suffix"),
        _int("size_bytes"),
        _int("touched_ms"),
        sa.PrimaryKeyConstraint("hash", name="pk_blobs"),
    )
    op.create_index("ix_blobs_touched_ms", "blobs", ["touched_ms"])
    op.create_table(
        "comparisons",
        _text("id"),
        _text("tenant"),
        _text("endpoint_id"),
        _text("state"),
        _int("created_ms"),
        _int("finished_ms", null=True),
        _text("request"),
        sa.PrimaryKeyConstraint("id", name="pk_comparisons"),
    )
    op.create_index("ix_comparisons_tenant", "comparisons", ["tenant", "id"])
    op.create_table(
        "endpoints",
        _text("id"),
        _text("tenant", null=True),
        _int("created_ms"),
        _int("updated_ms"),
        _text("policy"),
        _text("defaults"),
        _text("limits"),
        sa.PrimaryKeyConstraint("id", name="pk_endpoints"),
    )
    op.create_table(
        "limit_windows",
        _text("key_id"),
        _text("window"),
        sa.Column("start_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        _int("used"),
        sa.PrimaryKeyConstraint("key_id", "window", "start_ms", name="pk_limit_windows"),
    )
    op.create_table(
        "marks",
        _text("name"),
        _int("value"),
        sa.PrimaryKeyConstraint("name", name="pk_marks"),
    )
    op.create_table(
        "pronunciations",
        _text("tenant"),
        _int("version"),
        _int("updated_ms"),
        _text("entries"),
        sa.PrimaryKeyConstraint("tenant", name="pk_pronunciations"),
    )
    op.create_table(
        "route_changes",
        sa.Column("id", _serial, nullable=False),
        _text("endpoint_id"),
        _int("at_ms"),
        _text("actor"),
        _text("reason"),
        _text("before"),
        _text("after"),
        sa.PrimaryKeyConstraint("id", name="pk_route_changes"),
    )
    op.create_index("ix_route_changes_endpoint_id", "route_changes", ["endpoint_id", "id"])
    op.create_table(
        "take_pins",
        _text("take_key"),
        _text("job_id"),
        sa.PrimaryKeyConstraint("take_key", "job_id", name="pk_take_pins"),
    )
    op.create_table(
        "usage",
        _text("tenant"),
        _text("key_id"),
        _text("endpoint_id"),
        _text("backend"),
        _text("day"),
        _int("characters"),
        _int("audio_ms"),
        _int("jobs"),
        _int("cache_hits"),
        _int("cost_micro_usd"),
        sa.PrimaryKeyConstraint("tenant", "key_id", "endpoint_id", "backend", "day", name="pk_usage"),
    )
    op.create_table(
        "writer_marks",
        _text("writer"),
        _int("mark"),
        _int("at_ms"),
        sa.PrimaryKeyConstraint("writer", name="pk_writer_marks"),
    )
    op.create_table(
        "cache_entries",
        _text("key"),
        _text("scope"),
        _text("tenant"),
        _text("backend"),
        _text("revision"),
        _text("voice"),
        _text("format"),
        _text("blob_hash"),
        _int("size_bytes"),
        _text("output"),
        _int("created_ms"),
        _int("last_used_ms"),
        _int("hits"),
        _text("voice_hash", null=True),
        sa.ForeignKeyConstraint(["blob_hash"], ["blobs.hash"], name="fk_cache_entries_blob_hash"),
        sa.PrimaryKeyConstraint("key", name="pk_cache_entries"),
    )
    op.create_index("ix_cache_entries_blob_hash", "cache_entries", ["blob_hash"])
    op.create_index("ix_cache_entries_last_used_ms", "cache_entries", ["last_used_ms"])
    op.create_index(
        "ix_cache_entries_voice", "cache_entries", ["tenant", "voice_hash"], **_where("voice_hash IS NOT NULL")
    )
    op.create_table(
        "jobs",
        _text("id"),
        _text("tenant"),
        _text("endpoint_id"),
        _text("key_id"),
        _text("kind"),
        _text("state"),
        _text("backend"),
        _int("chars"),
        _int("created_ms"),
        _int("available_ms"),
        sa.Column("low_priority", sa.Boolean(), nullable=False),
        _text("flight_key", null=True),
        _text("cache_key", null=True),
        _text("webhook", null=True),
        _text("request_id", null=True),
        _int("execution_timeout_ms", null=True),
        _int("expires_at_ms", null=True),
        _int("started_ms", null=True),
        _int("finished_ms", null=True),
        _int("retain_until_ms", null=True),
        _int("delay_ms"),
        _int("execution_ms"),
        _int("attempt"),
        _int("failures"),
        _int("retries"),
        _text("owner", null=True),
        _int("beat"),
        _int("chunks_done"),
        _int("chunks_total"),
        _text("blob_hash", null=True),
        _text("error", null=True),
        _text("error_code", null=True),
        _text("worker_id", null=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        _int("stream_cursor"),
        _text("stream_sending", null=True),
        _text("output", null=True),
        _text("request"),
        sa.ForeignKeyConstraint(["blob_hash"], ["blobs.hash"], name="fk_jobs_blob_hash"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_blob_hash", "jobs", ["blob_hash"], **_where("blob_hash IS NOT NULL"))
    op.create_index("ix_jobs_endpoint", "jobs", ["endpoint_id", "state", "retries"])
    op.create_index(
        "ix_jobs_followers", "jobs", ["flight_key", "low_priority", "created_ms", "id"], **_where("state = 'IN_QUEUE'")
    )
    op.create_index(
        "ix_jobs_queue", "jobs", ["tenant", "low_priority", "created_ms", "id"], **_where("state = 'IN_QUEUE'")
    )
    op.create_index("ix_jobs_retained", "jobs", ["retain_until_ms"], **_where("retain_until_ms IS NOT NULL"))
    op.create_index("ix_jobs_running", "jobs", ["owner"], **_where("state = 'IN_PROGRESS'"))
    op.create_index("uq_jobs_flight", "jobs", ["flight_key"], unique=True, **_where("state = 'IN_PROGRESS'"))
    op.create_table(
        "samples",
        _text("id"),
        _text("comparison_id"),
        _text("backend"),
        _text("voice"),
        _text("state"),
        _text("blob_hash", null=True),
        _text("job_id", null=True),
        _int("created_ms"),
        _text("measures"),
        sa.ForeignKeyConstraint(["blob_hash"], ["blobs.hash"], name="fk_samples_blob_hash"),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparisons.id"], name="fk_samples_comparison_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_samples"),
    )
    op.create_index("ix_samples_blob_hash", "samples", ["blob_hash"])
    op.create_index("ix_samples_comparison_id", "samples", ["comparison_id"])
    op.create_table(
        "takes",
        _text("key"),
        _text("blob_hash"),
        _int("samples"),
        _int("sample_rate"),
        _int("size_bytes"),
        sa.Column("gain_db", sa.Float(), nullable=False),
        _text("warnings"),
        _int("created_ms"),
        _int("last_used_ms"),
        _text("job_id"),
        _text("tenant", null=True),
        _text("voice_hash", null=True),
        sa.ForeignKeyConstraint(["blob_hash"], ["blobs.hash"], name="fk_takes_blob_hash"),
        sa.PrimaryKeyConstraint("key", name="pk_takes"),
    )
    op.create_index("ix_takes_blob_hash", "takes", ["blob_hash"])
    op.create_index("ix_takes_last_used_ms", "takes", ["last_used_ms"])
    op.create_index("ix_takes_voice", "takes", ["tenant", "voice_hash"], **_where("voice_hash IS NOT NULL"))
    op.create_table(
        "voices",
        _text("id"),
        _text("tenant"),
        _text("name"),
        _text("language", null=True),
        _text("content_hash"),
        _text("blob_hash", null=True),
        _text("details"),
        _int("created_ms"),
        sa.ForeignKeyConstraint(["blob_hash"], ["blobs.hash"], name="fk_voices_blob_hash"),
        sa.PrimaryKeyConstraint("id", name="pk_voices"),
        sa.UniqueConstraint("tenant", "name", name="uq_voices_tenant_name"),
    )
    op.create_index("ix_voices_blob_hash", "voices", ["blob_hash"])
    op.create_table(
        "idempotency_keys",
        _text("tenant"),
        _text("endpoint_id"),
        _text("key"),
        _text("body_hash"),
        _text("job_id"),
        _int("created_ms"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_idempotency_keys_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant", "endpoint_id", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_job_id", "idempotency_keys", ["job_id"])
    op.create_table(
        "job_events",
        sa.Column("id", _serial, nullable=False),
        _text("job_id"),
        _int("at_ms"),
        _text("event"),
        _int("attempt"),
        _text("owner", null=True),
        _text("detail", null=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_events_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_job_events"),
    )
    op.create_index("ix_job_events_job_id", "job_events", ["job_id"])
    op.create_table(
        "votes",
        _text("id"),
        _text("comparison_id"),
        _text("winner_id"),
        _text("loser_id"),
        _text("choice"),
        _text("listener"),
        _int("at_ms"),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparisons.id"], name="fk_votes_comparison_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["loser_id"], ["samples.id"], name="fk_votes_loser_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["winner_id"], ["samples.id"], name="fk_votes_winner_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_votes"),
    )
    op.create_index("ix_votes_comparison_id", "votes", ["comparison_id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", _serial, nullable=False),
        _text("job_id"),
        _text("tenant"),
        _text("receiver"),
        _text("url"),
        _text("state"),
        _int("tries"),
        _int("due_ms"),
        _int("created_ms"),
        _int("last_status", null=True),
        _text("last_error", null=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_webhook_deliveries_job_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
    )
    op.create_index(
        "ix_webhook_deliveries_due_ms",
        "webhook_deliveries",
        ["due_ms", "tenant", "receiver"],
        **_where("state = 'PENDING'"),
    )
    op.create_index("ix_webhook_deliveries_job_id", "webhook_deliveries", ["job_id"])


def downgrade() -> None:
    """Revert the migration."""
    for table in (
        "webhook_deliveries",
        "votes",
        "job_events",
        "idempotency_keys",
        "voices",
        "takes",
        "samples",
        "jobs",
        "cache_entries",
        "writer_marks",
        "usage",
        "take_pins",
        "route_changes",
        "pronunciations",
        "marks",
        "limit_windows",
        "endpoints",
        "comparisons",
        "blobs",
        "api_keys",
    ):
        op.drop_table(table)

# ruff: noqa: S608 - the parts joined here are constants of this module
"""Adds lines of the queue, counts of jobs, and the list of blobs that may be unused."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_words = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_COUNTED = "('IN_QUEUE', 'IN_PROGRESS')"

_SQLITE_TRIGGERS = {
    "job_counts_inserted": (
        f"AFTER INSERT ON jobs WHEN NEW.state IN {_COUNTED} BEGIN "
        "INSERT INTO job_counts (endpoint_id, state, shard, n) VALUES (NEW.endpoint_id, NEW.state, 0, 1) "
        "ON CONFLICT (endpoint_id, state, shard) DO UPDATE SET n = n + 1; END"
    ),
    "job_counts_updated": (
        "AFTER UPDATE OF state ON jobs WHEN NEW.state <> OLD.state BEGIN "
        "UPDATE job_counts SET n = n - 1 WHERE endpoint_id = OLD.endpoint_id AND state = OLD.state AND shard = 0; "
        "INSERT INTO job_counts (endpoint_id, state, shard, n) SELECT NEW.endpoint_id, NEW.state, 0, 1 "
        f"WHERE NEW.state IN {_COUNTED} ON CONFLICT (endpoint_id, state, shard) DO UPDATE SET n = n + 1; END"
    ),
    "job_counts_deleted": (
        f"AFTER DELETE ON jobs WHEN OLD.state IN {_COUNTED} BEGIN "
        "UPDATE job_counts SET n = n - 1 WHERE endpoint_id = OLD.endpoint_id AND state = OLD.state AND shard = 0; END"
    ),
}
# Runs once per statement, not per row: a purge of a hundred thousand jobs changes each count once.
_POSTGRESQL_FUNCTION = f"""
CREATE FUNCTION count_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO job_counts AS c (endpoint_id, state, shard, n)
        SELECT endpoint_id, state, MOD(pg_backend_pid(), 16), COUNT(*) FROM new_jobs WHERE state IN {_COUNTED}
        GROUP BY endpoint_id, state ORDER BY endpoint_id, state
        ON CONFLICT (endpoint_id, state, shard) DO UPDATE SET n = c.n + excluded.n;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO job_counts AS c (endpoint_id, state, shard, n)
        SELECT endpoint_id, state, MOD(pg_backend_pid(), 16), SUM(moved) FROM (
            SELECT endpoint_id, state, 1 AS moved FROM new_jobs WHERE state IN {_COUNTED}
            UNION ALL SELECT endpoint_id, state, -1 FROM old_jobs WHERE state IN {_COUNTED}
        ) AS moves GROUP BY endpoint_id, state HAVING SUM(moved) <> 0 ORDER BY endpoint_id, state
        ON CONFLICT (endpoint_id, state, shard) DO UPDATE SET n = c.n + excluded.n;
    ELSE
        INSERT INTO job_counts AS c (endpoint_id, state, shard, n)
        SELECT endpoint_id, state, MOD(pg_backend_pid(), 16), -COUNT(*) FROM old_jobs WHERE state IN {_COUNTED}
        GROUP BY endpoint_id, state ORDER BY endpoint_id, state
        ON CONFLICT (endpoint_id, state, shard) DO UPDATE SET n = c.n + excluded.n;
    END IF;
    RETURN NULL;
END $$
"""
_POSTGRESQL_TRIGGERS = {
    "job_counts_inserted": "AFTER INSERT ON jobs REFERENCING NEW TABLE AS new_jobs",
    "job_counts_updated": "AFTER UPDATE ON jobs REFERENCING OLD TABLE AS old_jobs NEW TABLE AS new_jobs",
    "job_counts_deleted": "AFTER DELETE ON jobs REFERENCING OLD TABLE AS old_jobs",
}

_REFERRING = ("cache_entries", "jobs", "samples", "takes", "voices")
# A dropped reference puts its blob on the list, with the time of the database's machine. A sweep whose clock says that
# this is in the future replaces it by its own time. On SQLite a machine's clock that was set back counts only from the
# servers' time at the last sweep. (julianday: SQLite has no milliseconds in integers before 3.42.)
_SQLITE_LOOSE = (
    "BEGIN UPDATE blobs SET loose_ms = MAX(CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER), "
    "COALESCE((SELECT value FROM marks WHERE name = 'time'), 0)) WHERE hash = OLD.blob_hash; END"
)
_OTHER_BLOB = "OLD.blob_hash IS NOT NULL AND OLD.blob_hash IS {} NEW.blob_hash"
# Uses the index, however many rows the planner expects. Locks in the order of the hashes, so that two transactions that
# drop the same references do not deadlock; a sweep that is about to take the blob off the list waits for the lock.
_POSTGRESQL_LOOSE = """
CREATE FUNCTION loosen_{name}() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    UPDATE blobs AS b SET loose_ms = CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint)
    FROM (SELECT hash FROM blobs WHERE hash IN ({hashes}) ORDER BY hash FOR NO KEY UPDATE) AS held
    WHERE b.hash = held.hash;
    RETURN NULL;
END $$
"""
_POSTGRESQL_LOOSENED = {"replaced": "OLD.blob_hash", "dropped": "SELECT blob_hash FROM old_rows"}


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    """Apply the migration. Adds columns with constant defaults and tables, and replaces indexes; copies no row."""
    op.add_column("jobs", sa.Column("lane", sa.BigInteger(), nullable=False, server_default=sa.text("1")))
    op.add_column("jobs", sa.Column("deaths", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.execute("UPDATE jobs SET lane = 2 WHERE state = 'IN_QUEUE' AND low_priority")
    op.create_index(
        "ix_jobs_line", "jobs", ["backend", "lane", "tenant", "created_ms", "id"], **_where("state = 'IN_QUEUE'")
    )
    op.create_index("ix_jobs_suspects", "jobs", ["deaths", "id"], **_where("state = 'IN_QUEUE' AND deaths > 0"))
    op.create_index("ix_jobs_ttl", "jobs", ["expires_at_ms"], **_where("state = 'IN_QUEUE'"))
    op.create_index("ix_jobs_pages", "jobs", ["tenant", "endpoint_id", "state", "id", "retries"])
    op.drop_index("ix_jobs_queue", "jobs")
    op.drop_index("ix_jobs_endpoint", "jobs")
    op.drop_index("ix_jobs_followers", "jobs")
    op.create_index(
        "ix_jobs_followers",
        "jobs",
        ["flight_key", "low_priority", "tenant", "created_ms", "id"],
        **_where("state = 'IN_QUEUE'"),
    )

    # The next sweep checks every blob once.
    op.add_column("blobs", sa.Column("loose_ms", sa.BigInteger(), nullable=True, server_default=sa.text("0")))
    op.create_index("ix_blobs_loose", "blobs", ["loose_ms", "hash"], **_where("loose_ms IS NOT NULL"))
    op.drop_index("ix_blobs_touched_ms", "blobs")
    op.create_table(
        "dying_blobs",
        sa.Column("hash", _words, nullable=False),
        sa.Column("suffix", _words, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_dying_blobs"),
    )

    # Budgets are summed from the index alone.
    for table in ("takes", "cache_entries"):
        op.drop_index(f"ix_{table}_last_used_ms", table)
        op.create_index(f"ix_{table}_last_used_ms", table, ["last_used_ms", "size_bytes"])

    op.create_index("ix_take_pins_job_id", "take_pins", ["job_id"])

    op.add_column("webhook_deliveries", sa.Column("endpoint_id", _words, nullable=False, server_default=sa.text("''")))
    op.execute(
        "UPDATE webhook_deliveries SET endpoint_id = "
        "(SELECT j.endpoint_id FROM jobs j WHERE j.id = webhook_deliveries.job_id)"
    )
    op.create_index("ix_webhook_deliveries_pages", "webhook_deliveries", ["tenant", "endpoint_id", "state", "id"])

    op.create_table(
        "job_counts",
        sa.Column("endpoint_id", _words, nullable=False),
        sa.Column("state", _words, nullable=False),
        sa.Column("shard", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_id", "state", "shard", name="pk_job_counts"),
    )
    op.execute(
        "INSERT INTO job_counts (endpoint_id, state, shard, n) SELECT endpoint_id, state, 0, COUNT(*) FROM jobs "
        f"WHERE state IN {_COUNTED} GROUP BY endpoint_id, state"
    )
    if op.get_bind().dialect.name == "sqlite":
        for name, rest in _SQLITE_TRIGGERS.items():
            op.execute(f"CREATE TRIGGER {name} {rest}")
        for table in _REFERRING:
            op.execute(
                f"CREATE TRIGGER {table}_dropped_blob AFTER DELETE ON {table} WHEN OLD.blob_hash IS NOT NULL "
                f"{_SQLITE_LOOSE}"
            )
            op.execute(
                f"CREATE TRIGGER {table}_replaced_blob AFTER UPDATE OF blob_hash ON {table} "
                f"WHEN {_OTHER_BLOB.format('NOT')} {_SQLITE_LOOSE}"
            )
    else:
        op.execute(_POSTGRESQL_FUNCTION)
        for name, rest in _POSTGRESQL_TRIGGERS.items():
            op.execute(f"CREATE TRIGGER {name} {rest} FOR EACH STATEMENT EXECUTE FUNCTION count_jobs()")
        for name, hashes in _POSTGRESQL_LOOSENED.items():
            op.execute(_POSTGRESQL_LOOSE.format(name=name, hashes=hashes))
        for table in _REFERRING:
            op.execute(
                f"CREATE TRIGGER {table}_dropped_blob AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows "
                "FOR EACH STATEMENT EXECUTE FUNCTION loosen_dropped()"
            )
            op.execute(
                f"CREATE TRIGGER {table}_replaced_blob AFTER UPDATE OF blob_hash ON {table} FOR EACH ROW "
                f"WHEN ({_OTHER_BLOB.format('DISTINCT FROM')}) EXECUTE FUNCTION loosen_replaced()"
            )


def downgrade() -> None:
    """Revert the migration."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    for table in _REFERRING:
        for name in _POSTGRESQL_LOOSENED:
            op.execute(f"DROP TRIGGER {table}_{name}_blob" + ("" if sqlite else f" ON {table}"))
    for name in _SQLITE_TRIGGERS:
        op.execute(f"DROP TRIGGER {name}" + ("" if sqlite else " ON jobs"))
    if not sqlite:
        for name in ("count_jobs", *(f"loosen_{each}" for each in _POSTGRESQL_LOOSENED)):
            op.execute(f"DROP FUNCTION {name}")
    op.drop_table("job_counts")
    op.drop_index("ix_webhook_deliveries_pages", "webhook_deliveries")
    op.drop_column("webhook_deliveries", "endpoint_id")
    op.drop_index("ix_take_pins_job_id", "take_pins")
    for table in ("takes", "cache_entries"):
        op.drop_index(f"ix_{table}_last_used_ms", table)
        op.create_index(f"ix_{table}_last_used_ms", table, ["last_used_ms"])
    op.drop_table("dying_blobs")
    op.drop_index("ix_blobs_loose", "blobs")
    op.drop_column("blobs", "loose_ms")
    op.create_index("ix_blobs_touched_ms", "blobs", ["touched_ms"])
    op.drop_index("ix_jobs_followers", "jobs")
    op.create_index(
        "ix_jobs_followers", "jobs", ["flight_key", "low_priority", "created_ms", "id"], **_where("state = 'IN_QUEUE'")
    )
    op.create_index("ix_jobs_endpoint", "jobs", ["endpoint_id", "state", "retries"])
    op.create_index(
        "ix_jobs_queue", "jobs", ["tenant", "low_priority", "created_ms", "id"], **_where("state = 'IN_QUEUE'")
    )
    op.drop_index("ix_jobs_pages", "jobs")
    op.drop_index("ix_jobs_ttl", "jobs")
    op.drop_index("ix_jobs_suspects", "jobs")
    op.drop_index("ix_jobs_line", "jobs")
    op.drop_column("jobs", "deaths")
    op.drop_column("jobs", "lane")

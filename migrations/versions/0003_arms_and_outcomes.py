"""Adds the arms of a job, and the outcomes of their attempts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_words = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_BITS = ("failed", "fell_back", "slow", "bad_take")


def upgrade() -> None:
    """Apply the migration. Adds columns with constant defaults, and tables; copies no row."""
    for name, default in (("arms", "''"), ("unit", "''"), ("purpose", "'caller'")):
        op.add_column("jobs", sa.Column(name, _words, nullable=False, server_default=sa.text(default)))
    op.create_table(
        "outcomes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        *(sa.Column(name, _words, nullable=False) for name in ("endpoint_id", "policy", "arm", "unit")),
        sa.Column("step", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Boolean(), nullable=False) for name in (*_BITS, "comparable")),
        sa.Column("stratum", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_outcomes"),
    )
    op.create_index("ix_outcomes_at_ms", "outcomes", ["at_ms"])
    op.create_table(
        "outcome_hours",
        *(sa.Column(name, _words, nullable=False) for name in ("endpoint_id", "policy", "arm")),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("hour_ms", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("attempts", *_BITS)),
        sa.PrimaryKeyConstraint("endpoint_id", "policy", "arm", "step", "hour_ms", name="pk_outcome_hours"),
    )


def downgrade() -> None:
    """Revert the migration."""
    op.drop_table("outcome_hours")
    op.drop_table("outcomes")
    for name in ("purpose", "unit", "arms"):
        op.drop_column("jobs", name)

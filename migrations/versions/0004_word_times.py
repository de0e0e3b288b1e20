"""Adds word times: of takes, and of finished audio in files of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_words = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Apply the migration. Adds a column without a default and a table; copies no row."""
    op.add_column("takes", sa.Column("words", _words, nullable=True))
    op.create_table(
        "word_times",
        sa.Column("audio_hash", _words, nullable=False),
        sa.Column("blob_hash", _words, nullable=False),
        sa.ForeignKeyConstraint(["audio_hash"], ["blobs.hash"], name="fk_word_times_audio_hash", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["blob_hash"], ["blobs.hash"], name="fk_word_times_blob_hash"),
        sa.PrimaryKeyConstraint("audio_hash", "blob_hash", name="pk_word_times"),
    )
    op.create_index("ix_word_times_blob_hash", "word_times", ["blob_hash"])
    # As for the other tables that refer to blobs (0002).
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE TRIGGER word_times_dropped_blob AFTER DELETE ON word_times "
            "BEGIN UPDATE blobs SET loose_ms = 0 WHERE hash = OLD.blob_hash; END"
        )
    else:
        op.execute(
            "CREATE TRIGGER word_times_dropped_blob AFTER DELETE ON word_times REFERENCING OLD TABLE AS old_rows "
            "FOR EACH STATEMENT EXECUTE FUNCTION loosen_dropped()"
        )


def downgrade() -> None:
    """Revert the migration."""
    op.drop_table("word_times")
    op.drop_column("takes", "words")

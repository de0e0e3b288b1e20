"""What Alembic runs: the migrations, on the connection and in the transaction that `storage.migrate` opened."""

from __future__ import annotations

from alembic import context

from storage.models import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    compare_type=True,
    # SQLite cannot alter most of a column in place: later migrations copy the table there.
    render_as_batch=connection.dialect.name == "sqlite",
)
context.run_migrations()

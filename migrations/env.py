"""What Alembic runs: the migrations, on the connection and in the transaction that `storage.db.migrate` opened."""

from __future__ import annotations

from alembic import context

from storage.db.models import Base

connection = context.config.attributes["connection"]
# No table is ever copied (Alembic's batch mode): dropping the old one would empty what refers to it.
context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
context.run_migrations()

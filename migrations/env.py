"""Alembic's entry point: runs the migrations on the connection and in the transaction of `storage.db.migrate`."""

from __future__ import annotations

from alembic import context

from storage.db.models import Base

connection = context.config.attributes["connection"]
# Tables are never copied (Alembic's batch mode): dropping the old table would delete the rows that refer to it.
context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
context.run_migrations()

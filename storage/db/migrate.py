"""Migrates a database to the schema of this release. Synchronous: run it before the event loop, or in a thread.

Alembic runs the migrations (`migrations/`, inside the wheel). An upgrade is one transaction on both databases, so
two servers that start at the same time migrate one after the other, and a failed migration leaves the old schema.

Every command checks its database first; if it is ready, Alembic is not imported (a third of a second).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError

import migrations
from storage.db.database import make_engine, parse_url, place_of
from storage.errors import StorageError, reason_of, translate

if TYPE_CHECKING:
    from alembic.config import Config

BACKUPS_KEPT = 3
_REVISION = text("SELECT version_num FROM alembic_version")
_LOCK_TIMEOUT_MS = 60_000


class Schema(msgspec.Struct, frozen=True):
    """A database's schema compared with this release: `empty`, `behind`, `ready`, or `ahead` (made by a newer one)."""

    state: Literal["empty", "behind", "ready", "ahead"]
    current: str | None
    head: str


def current(url: str) -> str | None:
    """Return the schema revision of a database; None if it has none."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        return None
    engine = make_engine(parsed, write=False)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            revision: str | None = connection.execute(_REVISION).scalar()
            return revision
    except DBAPIError as error:
        raise _translated(error, place_of(parsed)) from error
    finally:
        engine.dispose()


def check(url: str) -> Schema:
    """Compare a database with this release; changes nothing.

    Raises:
        StorageError: the database cannot be read.
    """
    revision, wanted = current(url), migrations.HEAD
    if revision is None:
        return Schema("empty", None, wanted)
    if revision == wanted:
        return Schema("ready", revision, wanted)
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    return Schema("behind" if revision in known else "ahead", revision, wanted)


def upgrade(url: str) -> None:
    """Migrate a database to this release; a missing SQLite file is made.

    Raises:
        StorageError: the database is full, read-only, locked, or made by a newer release. Nothing was changed.
    """
    from alembic import command

    parsed = parse_url(url)
    place = place_of(parsed)
    state = check(url)
    if state.state == "ahead":
        raise StorageError(
            f"{place} was made by a newer voxgate (schema {state.current}, this one knows {state.head}): "
            "install that release, or restore a backup"
        )
    engine: Engine = make_engine(parsed, write=True, busy_timeout_ms=_LOCK_TIMEOUT_MS)
    try:
        with engine.begin() as connection:
            if parsed.get_backend_name() == "postgresql":
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7625938)")
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise _translated(error, place) from error
    finally:
        engine.dispose()


def backup_sqlite(path: Path) -> Path:
    """Copy a SQLite database, in use or not, to `NAME.TIME.bak` beside it; keep the last three copies.

    Raises:
        StorageError: no space, or no permission to write there.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    target = path.with_name(f"{path.name}.{stamp}.bak")
    partial = target.with_suffix(".partial")
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
        partial.replace(target)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"{path} could not be backed up to {target}: {error}") from error
    for old in sorted(path.parent.glob(f"{path.name}.*.bak"))[:-BACKUPS_KEPT]:
        old.unlink(missing_ok=True)
    return target


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])).replace("%", "%%"))
    return config


def _translated(error: Exception, place: str) -> BaseException:
    meant = translate(error, place)
    return StorageError(f"{place} cannot be migrated: {reason_of(error)}") if meant is error else meant

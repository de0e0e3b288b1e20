from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from support.storage import a_job, database_in, new_database_url

import migrations
from storage.db import migrate
from storage.db.database import make_engine, parse_url
from storage.db.models import Base
from storage.errors import StorageError
from storage.jobs.queue import JobStore


def test_the_migrations_make_the_schema_of_the_models(database_url: str) -> None:
    engine = make_engine(parse_url(database_url), write=False)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_new_database_is_empty_then_ready_and_upgrading_again_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    assert migrate.check(url).state == "empty"
    assert not (tmp_path / "new.db").exists()
    migrate.upgrade(url)
    migrate.upgrade(url)
    assert migrate.check(url) == migrate.Schema("ready", migrations.HEAD, migrations.HEAD)


def test_the_wanted_revision_is_the_last_one_there_is() -> None:
    assert ScriptDirectory(migrations.__path__[0]).get_current_head() == migrations.HEAD


def test_a_database_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    url = new_database_url(tmp_path)
    with sqlite3.connect(tmp_path / "voxgate.db") as other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")
    assert migrate.check(url).state == "ahead"
    with pytest.raises(StorageError, match="newer voxgate"):
        migrate.upgrade(url)


def test_servers_that_start_at_once_migrate_one_after_the_other(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    command = [sys.executable, "-c", "import sys; from storage.db import migrate; migrate.upgrade(sys.argv[1])", url]
    starting = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in starting:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert migrate.check(url).state == "ready"


async def test_a_backup_of_a_running_database_holds_its_jobs_and_three_are_kept(tmp_path: Path) -> None:
    async with database_in(tmp_path) as database:
        await JobStore(database).insert(a_job())
        backups = [migrate.backup_sqlite(tmp_path / "voxgate.db") for _ in range(5)]
    kept = sorted(tmp_path.glob("*.bak"))
    assert kept == backups[-3:]
    with sqlite3.connect(backups[-1]) as copy:
        assert copy.execute("SELECT id FROM jobs").fetchall() == [("job-1",)]

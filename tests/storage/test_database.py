from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from support.storage import a_job, database_in, jobs_of, new_database_url, on_sqlite, put_audio

from gateway.errors import SettingsError
from storage.db.database import Database
from storage.errors import StorageFull, StorageLocked, StorageReadOnly
from storage.files.audio import AudioStore
from storage.jobs.queue import JobStore


@pytest.mark.parametrize("url", ["sqlite://", "mysql://host/name", "not a url", "oracle+nothing://x"])
async def test_a_url_we_cannot_use_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(SettingsError, match="VOXGATE_DATABASE__URL"):
        await Database.open(url)


@on_sqlite
async def test_sqlite_runs_in_wal_and_syncs_every_commit(database: Database) -> None:
    asked = await database.writer.run(
        lambda connection: [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    )
    assert asked == ["wal", 2, 1]


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(StorageReadOnly):
        await database.read(lambda connection: connection.execute(text("DELETE FROM jobs")))


async def test_the_data_version_changes_when_another_server_commits_and_only_then(database_url: str) -> None:
    one, two = await Database.open(database_url), await Database.open(database_url)
    try:
        before = await one.data_version()
        assert await one.data_version() == before
        await JobStore(two).insert(a_job())
        assert await one.data_version() != before
    finally:
        await one.close()
        await two.close()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A database that another process has locked for writing."""
    url = new_database_url(tmp_path)
    path = url.removeprefix("sqlite:///")
    script = """
        import sqlite3, sys
        held = sqlite3.connect(sys.argv[1], isolation_level=None)
        held.execute("PRAGMA journal_mode = WAL")
        held.execute("BEGIN IMMEDIATE")
        print("locked", flush=True)
        sys.stdin.readline()
        held.execute("ROLLBACK")
        print("free", flush=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield url, process
        process.kill()


async def test_a_database_locked_by_another_process_says_so_reads_on_and_recovers(
    locked: tuple[str, subprocess.Popen[str]],
) -> None:
    url, process = locked
    assert process.stdin is not None
    assert process.stdout is not None
    database = await Database.open(url, busy_timeout_ms=200)
    try:
        jobs = JobStore(database)
        with pytest.raises(StorageLocked, match="locked by another process"):
            await jobs.insert(a_job())
        assert await jobs.get("job-1") is None
        assert await jobs.peek("job-1") is None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "free\n"
        await jobs.insert(a_job())
        assert await jobs.get("job-1") == a_job()
    finally:
        await database.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 600 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


async def test_a_full_disk_accepts_nothing_it_cannot_keep_and_works_again_with_room(small_disk: Path) -> None:
    async with database_in(small_disk) as database:
        jobs, audio = JobStore(database), AudioStore(small_disk / "audio")
        stuffing = small_disk / "stuffing"
        await jobs.insert(a_job("first"))
        with pytest.raises(OSError, match="No space"), stuffing.open("wb") as file:
            while True:
                file.write(b"x" * 4096)
        accepted = []
        with pytest.raises(StorageFull, match=r"no space left for .*voxgate.db"):
            for n in range(1000):
                await jobs.insert(a_job(f"job-{n}", request="x" * 20_000))
                accepted.append(f"job-{n}")
        with pytest.raises(StorageFull, match=r"no space left for .*audio"):
            await put_audio(audio, b"y" * 100_000)
        assert (await jobs.get("first")) is not None
        stuffing.unlink()
        await jobs.insert(a_job("later"))
        assert {job.id for job in await jobs_of(database)} == {"first", "later", *accepted}


async def test_a_file_size_limit_is_reported_as_a_full_disk(tmp_path: Path) -> None:
    async with database_in(tmp_path) as database:
        jobs = JobStore(database)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
        try:
            with pytest.raises(StorageFull):
                await jobs.insert(a_job(request="x" * 200_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await jobs.insert(a_job(request="x" * 200_000))


READ_ONLY = """
    import asyncio, os, sys
    from pathlib import Path
    from storage.files.audio import AudioStore
    from storage.db.database import Database
    from storage.errors import StorageReadOnly
    from storage.jobs.queue import JobStore
    from support.storage import a_job

    folder, warm = Path(sys.argv[1]), sys.argv[2]

    async def main():
        await (await Database.open(warm)).close()  # everything is imported while we may still read it
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        for attempt in ("database", "audio"):
            try:
                if attempt == "audio":
                    AudioStore(folder / "audio")
                else:
                    database = await Database.open(f"sqlite:///{folder}/voxgate.db")
                    try:
                        await JobStore(database).insert(a_job())
                    finally:
                        await database.close()
            except StorageReadOnly as error:
                print(attempt, error)

    asyncio.run(main())
"""


def test_a_folder_that_cannot_be_written_is_named_with_the_cure(tmp_path: Path) -> None:
    folder = tmp_path / "read only"
    new_database_url(folder)
    warm = new_database_url(tmp_path / "warm")
    (folder / "voxgate.db").chmod(0o444)
    folder.chmod(0o555)
    opened = [parent for parent in folder.parents if parent.stat().st_uid == os.geteuid() and len(parent.parts) > 2]
    modes = [parent.stat().st_mode for parent in opened]
    for parent in opened:
        parent.chmod(0o755)
    try:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(READ_ONLY), str(folder), warm],
            capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
    finally:
        folder.chmod(0o755)
        for parent, mode in zip(opened, modes, strict=True):
            parent.chmod(mode)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert all(f"{folder}" in line and "cannot be written: make it writable" in line for line in lines)

"""Spools of processes that were killed go, those of processes that live stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.storage import HandClock, database_in

from storage.files.audio import AudioStore
from storage.files.sweeper import Sweeper

WRITES = """
import sys, time
from pathlib import Path
from storage.files.audio import AudioStore
audio = AudioStore(Path(sys.argv[1]))
for n in range(3):
    audio.spools.new().write_bytes(b"half of a sound")
print("written", flush=True)
time.sleep(600)
"""


@contextmanager
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with three spools that it has not finished."""
    process = subprocess.Popen([sys.executable, "-c", WRITES, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "written\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


async def test_spools_of_a_killed_process_go_at_the_next_look_and_nobody_elses(tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    async with database_in(tmp_path) as database:
        audio = AudioStore(folder)
        mine = audio.spools.new()
        mine.write_bytes(b"half of another")
        sweeper = Sweeper(database, audio, HandClock())
        with writer(folder) as killed, writer(folder) as living, writer(folder) as stopped:
            os.kill(stopped.pid, signal.SIGSTOP)
            for file in set(audio.spools.folder.iterdir()) - {mine}:
                os.utime(file, (1, 1))  # their jobs wait for a chunk, or the clock was set: they live
            assert await sweeper.clear_spools() == 0
            kill(killed)
            assert await sweeper.clear_spools() == 3
            assert len(list(audio.spools.folder.iterdir())) == 1 + 3 + 3
            assert await Sweeper(database, AudioStore(folder), HandClock()).clear_spools() == 0
            kill(living)
            kill(stopped)
            assert (await sweeper.sweep()).spools == 6
        assert list(audio.spools.folder.iterdir()) == [mine]
        await sweeper.clear_spools()
        assert len(list((folder / "owners").iterdir())) == 1  # nothing is left of those that have ended


async def test_a_spool_of_a_process_that_was_killed_after_its_row_becomes_the_file(tmp_path: Path) -> None:
    stores = """
import asyncio, os, sys
from pathlib import Path
from storage.files.audio import AudioStore
async def main():
    audio = AudioStore(Path(sys.argv[1]))
    [blob] = await audio.put_many([b"the only copy"], ".mp3")
    print(blob.hash, flush=True)
asyncio.run(main())
os._exit(1)
"""
    folder = tmp_path / "audio"
    done = subprocess.run([sys.executable, "-c", stores, str(folder)], capture_output=True, text=True, check=False)
    blob_hash = done.stdout.strip()
    async with database_in(tmp_path) as database:
        audio = AudioStore(folder)
        await database.writer.run(
            lambda connection: connection.exec_driver_sql(
                "INSERT INTO blobs (hash, size_bytes, suffix, touched_ms) VALUES (?, 13, '.mp3', 0)",
                (blob_hash,),
            )
        )
        assert await audio.read(blob_hash) == b"the only copy"
        assert await Sweeper(database, audio, HandClock()).clear_spools() == 1
        assert await audio.read(blob_hash) == b"the only copy"
        assert not list(audio.spools.folder.iterdir())


@pytest.mark.parametrize("locks", [True, False], ids=["with locks", "without"])
async def test_where_the_owner_is_not_known_age_decides(tmp_path: Path, locks: bool) -> None:
    audio = AudioStore(tmp_path / "audio")
    if not locks:
        (audio.root / "owners").touch()  # no folder of locks can be made
    old, young = audio.spools.folder / ("0" * 32), audio.spools.new()
    old.write_bytes(b"of an earlier release")
    young.write_bytes(b"of this one")
    os.utime(old, (1, 1))
    async with database_in(tmp_path) as database:
        assert await Sweeper(database, audio, HandClock()).clear_spools() == 1
    assert list(audio.spools.folder.iterdir()) == [young]

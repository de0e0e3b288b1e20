"""Storage errors state their cause and name the place, so that the cure given is the right one."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from gateway.errors import status_of
from storage.errors import StorageOutOfHandles, StorageReadOnly, translate


@contextmanager
def no_more_files() -> Iterator[None]:
    """Use up the file descriptors of this process, so that it can open no file while the block runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 4, hard))
    try:
        with ExitStack() as opened:
            with contextlib.suppress(OSError):
                while True:
                    opened.enter_context(Path(os.devnull).open())
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts its open files in /proc")


@needs_proc
def test_a_process_that_may_open_no_more_files_says_so_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "audio.mp3").write_bytes(b"audio")
    with no_more_files(), pytest.raises(OSError) as caught:
        (tmp_path / "audio.mp3").read_bytes()
    error = translate(caught.value, "the audio folder")
    assert isinstance(error, StorageOutOfHandles) and status_of(error) == 503
    assert "the audio folder" in str(error) and "LimitNOFILE" in str(error)


@needs_proc
def test_a_process_that_may_open_no_more_files_says_so_of_a_database(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'voxgate.db'}")
    with no_more_files():
        with pytest.raises(DBAPIError) as caught, engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        assert isinstance(translate(caught.value, "voxgate.db"), StorageOutOfHandles)
    # The same words of SQLite's mean a file that cannot be opened, where others can.
    assert isinstance(translate(caught.value, "voxgate.db"), StorageReadOnly)

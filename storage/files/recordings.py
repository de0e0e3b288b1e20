"""Finds the recordings of voices in the process where a backend runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def local_recording(root: Path, blob_hash: str) -> Iterator[Path]:
    """Give the path of a recording in the audio store in the folder `root`, inside the block.

    Raises:
        FileNotFoundError: it is lost or damaged.
    """
    # Here, since most worker processes read none, and the errors of storage import SQLAlchemy.
    from storage.errors import BlobMissing
    from storage.files.blob_store import BlobStore
    from storage.files.spools import Spools

    try:
        with BlobStore(root, Spools(root).of).local(blob_hash) as path:
            yield path
    except BlobMissing as error:
        raise FileNotFoundError(str(error)) from error

"""Finds the recordings of voices in the process where a backend runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec


class LocalRecordings(msgspec.Struct, frozen=True):
    """The recordings in the audio store in the folder `root`; can be pickled."""

    root: Path

    def __call__(self, blob_hash: str) -> AbstractContextManager[Path]:
        """Give the path of a recording, inside the block.

        Raises:
            FileNotFoundError: it is lost or damaged.
        """
        return _local(self.root, blob_hash)


@contextmanager
def _local(root: Path, blob_hash: str) -> Iterator[Path]:
    # Here, since most worker processes read none, and the errors of storage import SQLAlchemy.
    from storage.errors import BlobMissing
    from storage.files.blob_store import BlobStore
    from storage.files.spools import Spools

    try:
        with BlobStore(root, Spools(root).of).local(blob_hash) as path:
            yield path
    except BlobMissing as error:
        raise FileNotFoundError(str(error)) from error

"""Names spools by their owner, so that spools of a killed server are removed at once and those of a live one stay.

A process that makes spools holds a lock on its own folder; the system releases the lock when the process ends, however
it ends. Each spool has the folder's name in its name. A spool whose owner's lock is free will never be finished; any
server, in any container, can check that. If folders cannot be locked (NFS), the age of the spool decides.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

_ours: set[str] = set()
"""The owners of this process; their locks are not tried."""


class Spools:
    """Names the spools of one store, and finds abandoned ones.

    Args:
        owners: the folder that holds the owners' folders; made at first use.
    """

    def __init__(self, owners: Path) -> None:
        self._owners = owners
        self._owner: str | None = None

    def new_name(self) -> str:
        """Return a unique name without a dot."""
        if self._owner is None:
            self._owner = self._own()
        return f"{self._owner}-{uuid.uuid4().hex}"

    def left_behind(self, files: Iterable[Path], is_old: Callable[[Path], bool]) -> list[Path]:
        """Return those of `files` whose owner has ended, and old ones without a known owner. Removes the folders of
        ended owners that have no files left."""
        ended, living = set[str](), set[str]()
        for owner in self._all():
            (ended if self._has_ended(owner) else living).add(owner)
        owned = [(file, _owner_of(file)) for file in files]
        for owner in ended - {owner for _, owner in owned}:
            with contextlib.suppress(OSError):  # another server removed it first
                (self._owners / owner).rmdir()
        return [file for file, owner in owned if owner in ended or (owner not in living and is_old(file))]

    def _own(self) -> str:
        """Take a lock until this process ends; returns its name, or "none" if folders cannot be locked."""
        owner = uuid.uuid4().hex[:12]
        draft = self._owners / f".{owner}"
        try:
            self._owners.mkdir(exist_ok=True)  # without parents: they may be on a disk that is not mounted
            draft.mkdir()
            handle = os.open(draft, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.rename(self._owners / owner)  # renamed last, so that it is never seen without its lock
            except OSError:
                os.close(handle)
                draft.rmdir()
                raise
        except OSError:
            return "none"
        _ours.add(owner)
        return owner

    def _all(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return [path.name for path in self._owners.iterdir() if path.name[0] != "." and path.name not in _ours]
        return []

    def _has_ended(self, owner: str) -> bool:
        """Return whether the owner's lock is free; a lock that cannot be tried counts as held."""
        try:
            handle = os.open(self._owners / owner, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(handle)
        return True


def _owner_of(spool: Path) -> str:
    return spool.name.rpartition(".")[2].partition("-")[0]

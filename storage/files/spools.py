"""Whose spools are whose: those of a server that was killed go at once, those of one that lives stay.

A process that makes spools holds a lock on a folder of its own, which the system lets go when the process ends, however
it ends; the folder's name is in the name of each spool. So a spool whose lock nobody holds will never be finished,
whichever server looks, in whichever container. Where folders cannot be locked (NFS) nobody can tell, and age decides.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

_ours: set[str] = set()
"""Locks of this process; they need not be tried."""


class Spools:
    """Names the spools of one store, and finds those that were left behind.

    Args:
        owners: the folder of those folders; made when it is first needed.
    """

    def __init__(self, owners: Path) -> None:
        self._owners = owners
        self._owner: str | None = None

    def new_name(self) -> str:
        """A name nobody has, without a dot."""
        if self._owner is None:
            self._owner = self._own()
        return f"{self._owner}-{uuid.uuid4().hex}"

    def left_behind(self, files: Iterable[Path], is_old: Callable[[Path], bool]) -> list[Path]:
        """Those of `files` whose owner has ended, and old ones of which nobody can tell. Forgets owners that have
        ended and left nothing."""
        ended, living = set[str](), set[str]()
        for owner in self._all():
            (ended if self._has_ended(owner) else living).add(owner)
        owned = [(file, _owner_of(file)) for file in files]
        for owner in ended - {owner for _, owner in owned}:
            with contextlib.suppress(OSError):  # another server was quicker
                (self._owners / owner).rmdir()
        return [file for file, owner in owned if owner in ended or (owner not in living and is_old(file))]

    def _own(self) -> str:
        """Take a lock until this process ends; its name, or "none" where there are no locks."""
        owner = uuid.uuid4().hex[:12]
        draft = self._owners / f".{owner}"
        try:
            self._owners.mkdir(exist_ok=True)  # and nothing above it, which may be a disk that is away
            draft.mkdir()
            handle = os.open(draft, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                draft.rename(self._owners / owner)  # nobody sees it without its lock
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
        """Whether nobody holds the lock; a lock that cannot be tried counts as held."""
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

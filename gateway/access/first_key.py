"""The first API key of a new installation, made once and shown once."""

from __future__ import annotations

import sys
from typing import TextIO

from gateway.access.keys import Keys
from gateway.access.principal import SCOPES
from gateway.access.signing import write_private
from gateway.settings import Settings
from gateway.settings.logs import get_logger
from storage.keys import KeyStore

log = get_logger(__name__)

FIRST_KEY_FILE = "first.key"


async def make_first_key(keys: Keys, store: KeyStore, settings: Settings, terminal: TextIO | None = None) -> bool:
    """Make a key if the database has none and VOXGATE_API_KEY is not set. Return whether a key was made.

    The key is printed if `terminal` (None: standard error) is a terminal. Otherwise it is written to a file in the
    data folder that only this user can read, and the file's path is logged. The key itself is never logged.
    """
    if settings.api_key is not None or await keys.list():
        return False
    new = keys.draft(scopes=SCOPES, name="first key")
    if not await store.insert_first(new.record):
        return False
    terminal = terminal or sys.stderr
    if terminal.isatty():
        terminal.write(
            f"\nYour API key, shown only now (tenant default, every scope):\n\n    {new.secret}\n\n"
            "Use it as: Authorization: Bearer KEY. More: voxgate keys create\n\n"
        )
        terminal.flush()
        return True
    path = settings.data_dir / FIRST_KEY_FILE
    # An earlier database in the same folder may have left this file; its key no longer works.
    path.unlink(missing_ok=True)
    write_private(path, new.secret)
    log.info("first API key made", path=str(path), key_id=new.record.id)
    return True

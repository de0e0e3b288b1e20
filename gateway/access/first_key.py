"""The key of a fresh installation: made once, shown once."""

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
    """Make a key if there is none at all and no VOXGATE_API_KEY; whether one was made.

    Shown if `terminal` (None: standard error) is one; else kept in the data folder in a file only this user can
    read, whose path is logged. It is never logged itself.
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
    # Left by an earlier database in the same folder; its key opens nothing any more.
    path.unlink(missing_ok=True)
    write_private(path, new.secret)
    log.info("first API key made", path=str(path), key_id=new.record.id)
    return True

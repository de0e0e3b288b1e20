"""Signed URLs: each gives access to one file without a key, until it expires."""

from __future__ import annotations

import base64
import hmac
import os
import secrets
import stat
import time
from pathlib import Path

from gateway.clock import Clock
from gateway.errors import Forbidden, SettingsError
from gateway.settings import Settings

KEY_FILE = "signing.key"
_MIN_BYTES = 16
_READS = 20
_READ_EVERY_S = 0.1


class Signer:
    """Signs paths with HMAC-SHA256.

    Args:
        key: at least 16 bytes, the same on every server of one database.
    """

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def sign(self, path: str, expires: int) -> str:
        """Return the signature of a path that expires at `expires` (UTC seconds): 43 characters of base64url."""
        mac = hmac.digest(self._key, f"{expires}\n{path}".encode(), "sha256")
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    def verify(self, path: str, expires: str | int, signature: str) -> None:
        """Check the signature and expiry of a request.

        Raises:
            Forbidden: the signature is forged, the address was changed, or it has expired.
        """
        try:
            until = int(expires)
        except ValueError:
            until = -1
        if until < 0 or not hmac.compare_digest(self.sign(path, until).encode(), signature.encode()):
            raise Forbidden("the signature of this address is wrong; use audio_url exactly as the server gave it")
        if until * 1000 <= self._clock.now_ms():
            raise Forbidden("this address has expired; ask for the job's status again to get a new one")


def signing_key(settings: Settings) -> bytes:
    """Return the setting `signing_key`, or else the key in the data folder. The first call makes that key.

    Raises:
        SettingsError: the file is too short to be a key or cannot be read.
    """
    if settings.signing_key is not None:
        return settings.signing_key.encode()
    path = settings.data_dir / KEY_FILE
    write_private(path, secrets.token_urlsafe(32))
    try:
        key = _read_key(path)
    except OSError as error:
        raise SettingsError(
            f"VOXGATE_SIGNING_KEY is not set and {path} cannot be read ({error.strerror}); fix it or set the variable"
        ) from error
    if len(key) < _MIN_BYTES:
        raise SettingsError(f"{path} is too short to be a signing key; delete it, and the next start makes a new one")
    return key


def write_private(path: Path, content: str) -> bool:
    """Write a file that only this user can read, unless it exists. Return whether it was written.

    The file appears whole or not at all, so two servers that start at once never read half a file. On a disk without
    hard links (exFAT, SMB, some container mounts) the file is empty for a moment; `_read_key` waits for it.
    """
    if os.path.lexists(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    _write_new(draft, content)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    except OSError:
        # File systems report "no hard links" with different errors. Any other problem is raised by this write too.
        try:
            _write_new(path, content)
        except FileExistsError:
            return False
    finally:
        draft.unlink()
    return True


def _write_new(path: Path, content: str) -> None:
    """Write a new file and sync it to disk. Remove it if that fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise


def _read_key(path: Path) -> bytes:
    """Read a key file. Wait a moment if the file is empty: another process has created it and is about to write it."""
    for _ in range(_READS):
        if key := path.read_bytes().strip():
            return key
        time.sleep(_READ_EVERY_S)
    return b""

"""Signed, expiring addresses: who holds one may fetch that one thing until then, without a key."""

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
_LEAST_BYTES = 16
_LOOKS = 20
_LOOK_S = 0.1


class Signer:
    """Signs paths with HMAC-SHA256.

    Args:
        key: at least 16 bytes, the same on every server of one database.
    """

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def sign(self, path: str, expires: int) -> str:
        """The signature of a path until `expires` (UTC seconds): 43 characters of base64url."""
        mac = hmac.digest(self._key, f"{expires}\n{path}".encode(), "sha256")
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    def signed(self, path: str, ttl_s: float) -> str:
        """`path?expires=…&signature=…`, good for `ttl_s` seconds from now."""
        expires = int(self._clock.now_ms() / 1000 + ttl_s)
        return f"{path}?expires={expires}&signature={self.sign(path, expires)}"

    def verify(self, path: str, expires: str | int, signature: str) -> None:
        """Check what came with a request.

        Raises:
            Forbidden: forged, altered, or its time is over.
        """
        try:
            until = int(expires)
        except ValueError:
            until = -1
        if until < 0 or not hmac.compare_digest(self.sign(path, until).encode(), signature.encode()):
            raise Forbidden("this address is not one the server signed; take audio_url as it was given")
        if until * 1000 <= self._clock.now_ms():
            raise Forbidden("this address has expired; ask for the job's status again to get a new one")


def signing_key(settings: Settings) -> bytes:
    """The key of `signing_key`, else the one kept in the data folder, made there the first time.

    Raises:
        SettingsError: the file is too short to be a key or cannot be read.
    """
    if settings.signing_key is not None:
        return settings.signing_key.encode()
    path = settings.data_dir / KEY_FILE
    write_private(path, secrets.token_urlsafe(32))
    try:
        key = _written(path)
    except OSError as error:
        raise SettingsError(
            f"VOXGATE_SIGNING_KEY is not set and {path} cannot be read ({error.strerror}); mend it or set the variable"
        ) from error
    if len(key) < _LEAST_BYTES:
        raise SettingsError(f"{path} is too short to be a signing key; delete it to have a new one made")
    return key


def write_private(path: Path, content: str) -> bool:
    """Write a file only this user can read, unless it is there already; whether it was written.

    It appears whole or not at all, so of two servers starting at once neither reads half of the other's. On a disk
    without hard links (exFAT, SMB, some mounts of containers) it is empty for a moment, as `_written` knows.
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
        # File systems have many errors for "no hard links". If it is something else, this meets it too and says so.
        try:
            _write_new(path, content)
        except FileExistsError:
            return False
    finally:
        draft.unlink()
    return True


def _write_new(path: Path, content: str) -> None:
    """Write a new file, durably; it is removed again where that fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise


def _written(path: Path) -> bytes:
    """A key file's content; waits a moment where another process has made it and is about to write it."""
    for _ in range(_LOOKS):
        if key := path.read_bytes().strip():
            return key
        time.sleep(_LOOK_S)
    return b""

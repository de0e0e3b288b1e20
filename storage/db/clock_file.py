"""Keeps the servers' time in a file beside their SQLite database, so that a new server continues it.

A server's time does not jump while it runs (`gateway.clock`). If a server took the machine's time at its start, and
that had jumped, it would time out jobs that were accepted before the jump. So each server writes down its time, and
the next one continues from it, unless the machine was rebooted: the time in between can be measured only within one
boot.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from gateway.clock import SystemClock
from gateway.settings.logs import get_logger

FILE = "clock.json"
LONGEST_MS = 7 * 86_400_000
"""A larger difference means that the machine's clock was not yet set when the other servers started."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

log = get_logger("voxgate.storage")


class _SavedTime(msgspec.Struct, frozen=True):
    boot_id: str
    elapsed_s: float
    now_ms: int


class ClockFile:
    """Stores a clock's time in a file of a folder.

    Args:
        boot_id: identifies one boot of the machine; "" if the system has none: then nothing is stored.
    """

    def __init__(self, folder: Path, clock: SystemClock, boot_id: str | None = None) -> None:
        self._path = folder / FILE
        self._clock = clock
        self._boot_id = _this_run() if boot_id is None else boot_id

    def restore(self) -> None:
        """Set the clock to the stored time plus the time passed since it was stored."""
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=_SavedTime)
        except (OSError, msgspec.DecodeError):
            return
        elapsed_s = self._clock.elapsed()
        if not self._boot_id or saved.boot_id != self._boot_id or elapsed_s < saved.elapsed_s:
            return
        now_ms = saved.now_ms + round(1000 * (elapsed_s - saved.elapsed_s))
        off_ms = now_ms - self._clock.now_ms()
        if abs(off_ms) <= LONGEST_MS:
            self._clock.begin(now_ms)
        else:
            log.warning("clock_was_set", seconds=-off_ms // 1000)

    def save(self) -> None:
        """Store the clock's time."""
        if not self._boot_id:
            return
        elapsed_s, now_ms = self._clock.elapsed(), self._clock.now_ms()
        draft = self._path.with_name(f".{FILE}.{os.getpid()}")
        try:
            draft.write_bytes(msgspec.json.encode(_SavedTime(self._boot_id, elapsed_s, now_ms)))
            draft.replace(self._path)
        except OSError as error:
            log.warning("clock_not_kept", error=error)


def _this_run() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""

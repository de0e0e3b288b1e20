"""The time of this machine's servers, handed on from one to the next beside their SQLite database.

A server's time does not jump while it lives (`gateway.clock`). Were it the machine's again at each start, a server that
is started after a jump would end the jobs that others have accepted before it, and a restart those of its own. So each
writes down what time it has, and the next one goes on from there, as long as the machine has not been started anew:
only within one run can the time in between be measured.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from gateway.clock import SystemClock
from gateway.settings.logs import get_logger

FILE = "clock.json"
LONGEST_MS = 7 * 86_400_000
"""A difference above it is no jump: the machine's clock had not been set at all when the others began."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

log = get_logger("voxgate.storage")


class _Kept(msgspec.Struct, frozen=True):
    boot_id: str
    elapsed_s: float
    now_ms: int


class KeptTime:
    """Keeps a clock's time in a folder.

    Args:
        boot_id: tells one run of the machine from another; empty where it cannot be told, and nothing is kept.
    """

    def __init__(self, folder: Path, clock: SystemClock, boot_id: str | None = None) -> None:
        self._path = folder / FILE
        self._clock = clock
        self._boot_id = _this_run() if boot_id is None else boot_id

    def go_on(self) -> None:
        """Set the clock to what the servers before have come to by now."""
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError):
            return
        elapsed_s = self._clock.elapsed()
        if not self._boot_id or kept.boot_id != self._boot_id or elapsed_s < kept.elapsed_s:
            return
        now_ms = kept.now_ms + round(1000 * (elapsed_s - kept.elapsed_s))
        off_ms = now_ms - self._clock.now_ms()
        if abs(off_ms) <= LONGEST_MS:
            self._clock.begin(now_ms)
        else:
            log.warning("clock_was_set", seconds=-off_ms // 1000)

    def keep(self) -> None:
        """Write down what time it is."""
        if not self._boot_id:
            return
        elapsed_s, now_ms = self._clock.elapsed(), self._clock.now_ms()
        draft = self._path.with_name(f".{FILE}.{os.getpid()}")
        try:
            draft.write_bytes(msgspec.json.encode(_Kept(self._boot_id, elapsed_s, now_ms)))
            draft.replace(self._path)
        except OSError as error:
            log.warning("clock_not_kept", error=error)


def _this_run() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""

"""What every part of the queue's repository stands on."""

from __future__ import annotations

from gateway.clock import Clock, SystemClock
from storage.db.database import Database
from storage.records import Retention


class JobTable:
    """The database, the clock, and how long finished jobs are kept."""

    def __init__(self, db: Database, clock: Clock | None = None, retention: Retention | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()
        self._retention = retention or Retention()

    def _keep(self, now: int) -> dict[str, int]:
        return {"keep_run": now + self._retention.run_ms, "keep_runsync": now + self._retention.runsync_ms}

"""How long finished jobs are kept."""

from __future__ import annotations

from gateway.settings import JobSettings


def retained_until(jobs: JobSettings, kind: str, finished_ms: int) -> int:
    """The wall time, in UTC ms, from which a job of this kind that ended at `finished_ms` is not answered any more."""
    return finished_ms + round(1000 * (jobs.retention_run_s if kind == "run" else jobs.retention_runsync_s))

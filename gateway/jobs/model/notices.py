"""Notices about jobs, to waiting callers and to the parts of a server that act on an end."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gateway.jobs.model.signals import Signals
from storage.records import JobRecord


class Notices(msgspec.Struct, frozen=True, kw_only=True):
    """The ways to notify about jobs.

    Args:
        signals: wake the callers in this server that wait for a job.
        ended: called with the ids of jobs that ended outside this server's runner.
        ran: called when an attempt of this server has ended: with the job, if it was COMPLETED, else None, and the ids
            of all jobs that ended with it.
        kept: called with a job's id when takes of it were stored.
    """

    signals: Signals
    ended: Callable[..., None]
    ran: Callable[[JobRecord | None, tuple[str, ...]], None]
    kept: Callable[[str], None]

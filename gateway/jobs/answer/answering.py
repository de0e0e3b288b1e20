"""The parts that answer about jobs, from memory and from the database."""

from __future__ import annotations

import msgspec

from gateway.jobs.answer.answers import Answers
from gateway.jobs.answer.health import HealthReport
from gateway.jobs.answer.job_view import JobViews
from gateway.jobs.answer.recent import Recent
from gateway.jobs.answer.write_behind import WriteBehind


class Answering(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one server that answer about jobs.

    Args:
        answers: finished audio by cache key.
        recent: jobs that have just ended.
        write_behind: rows of jobs that were answered before they were written.
        health: the state of queue, workers and backends.
        views: jobs as callers see them.
    """

    answers: Answers
    recent: Recent
    write_behind: WriteBehind
    health: HealthReport
    views: JobViews

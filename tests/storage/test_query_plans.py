"""What is asked every second must not cost more the more finished jobs there are."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import TextClause
from sqlalchemy.dialects import sqlite
from support.storage import new_database_url

from storage import job_sql, webhooks

POLLED = {
    "waiting": job_sql.WAITING,
    "any waiting": job_sql.ANY_WAITING,
    "any unfinished": job_sql.ANY_UNFINISHED,
    "leases": job_sql.LEASES,
    "held": job_sql.HELD,
    "heads": job_sql.HEADS,
    "suspects": job_sql.SUSPECTS,
    "webhooks due": webhooks._NEXT,
}


@pytest.mark.parametrize("name", POLLED)
def test_a_question_that_is_asked_every_second_reads_no_finished_job(tmp_path: Path, name: str) -> None:
    new_database_url(tmp_path)
    statement: TextClause = POLLED[name]
    values = {bind: ["x"] if bind == "backends" else 1 for bind in statement._bindparams}
    compiled = statement.bindparams(**values).compile(
        dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True}
    )
    with sqlite3.connect(tmp_path / "voxgate.db") as connection:
        parameters = [compiled.params[bind] for bind in compiled.positiontup or ()]
        plan = connection.execute(f"EXPLAIN QUERY PLAN {compiled}", parameters).fetchall()
    steps = [row[3] for row in plan]
    reads = [
        step for step in steps if step.startswith(("SCAN", "SEARCH")) and step not in ("SCAN CONSTANT ROW", "SCAN t")
    ]
    reads = [step for step in reads if not step.endswith("(id=?)")]  # a row that an index has named
    assert reads and all(any(index in step for index in PARTIAL) for step in reads if step != "SCAN waiting"), steps


PARTIAL = (
    "ix_jobs_line",
    "ix_jobs_suspects",
    "ix_jobs_running",
    "ix_jobs_followers",
    "uq_jobs_flight",
    "ix_webhook_deliveries_due_ms",
)
"""Indexes that hold no finished job."""

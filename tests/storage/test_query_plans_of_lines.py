"""Looks at the lines of the queue read by its index, on both databases."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.dialects import sqlite
from support.postgres import migrated_database
from support.storage import a_job, new_database_url

from storage.db.database import make_engine, parse_url
from storage.jobs import sql as job_sql
from storage.jobs.rows import params_of
from storage.records import Lane

POLLED = {
    "heads": job_sql.HEADS,
    "behind": job_sql.BEHIND,
    "wanted": job_sql.WANTED,
    "lifted": job_sql.LIFTED,
}


@pytest.mark.parametrize("name", POLLED)
def test_a_question_that_is_asked_every_second_reads_no_finished_job(tmp_path: Path, name: str) -> None:
    new_database_url(tmp_path)
    statement: TextClause = POLLED[name]
    values = {
        bind: ["x"] if statement._bindparams[bind].expanding else '[["b", 1, ""]]' if bind == "rings" else "[1]"
        for bind in statement._bindparams
    }
    compiled = statement.bindparams(**values).compile(
        dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True}
    )
    with sqlite3.connect(tmp_path / "voxgate.db") as connection:
        parameters = [compiled.params[bind] for bind in compiled.positiontup or ()]
        plan = connection.execute(f"EXPLAIN QUERY PLAN {compiled}", parameters).fetchall()
    steps = [row[3] for row in plan]
    reads = [step for step in steps if step.startswith(("SCAN", "SEARCH")) and step not in INTERMEDIATE]
    assert reads and all(any(index in step for index in PARTIAL) for step in reads if step != "SCAN waiting"), steps
    assert not [step for step in steps if "TEMP B-TREE" in step and name in ("heads", "behind", "wanted")], steps


SHARED = {
    "heads": (
        job_sql.HEADS_SHARED,
        {
            "backends": ["hibari"] * 3,
            "lanes": [0, 1, 2],
            "tenants": [""] * 3,
            "now": 1,
            "per_line": 16,
            "scan": 116,
            "lines": 32,
        },
    ),
    "wanted": (job_sql.WANTED, {"backend": "hibari", "now": 1, "scan": 100}),
    "lifted": (job_sql.LIFTED, {"flights": ["f", "g"]}),
    "behind": (
        job_sql.BEHIND,
        {"backend": "b", "tenant": "t", "lane": 1, "after_ms": 1, "after_id": "j", "now": 1, "scan": 100},
    ),
}


LIKE_OURS = {
    "id": "'job ' || n", "tenant": "'tenant ' || n % 7", "backend": "CASE n % 3 WHEN 0 THEN 'hibari' ELSE 'google' END",
    "created_ms": "n", "flight_key": "'flight ' || n",
}  # fmt: skip
"""Columns whose values differ between the twenty thousand waiting jobs."""


@pytest.mark.parametrize("name", SHARED)
def test_postgresql_reads_lines_by_their_index(name: str) -> None:
    statement, values = SHARED[name]
    columns = [*job_sql.COLUMNS, "cancel_requested"]
    many = f"SELECT {', '.join(LIKE_OURS.get(c, c) for c in columns)} FROM jobs, generate_series(1, 20000) n"
    with migrated_database() as url:
        engine = make_engine(parse_url(url), write=True)
        with engine.begin() as connection:
            connection.execute(job_sql.INSERT, params_of(a_job(flight_key="f", lane=Lane.LONG)))
            connection.execute(text(f"INSERT INTO jobs ({', '.join(columns)}) {many}"))
        with engine.connect() as connection:
            connection.execute(text("ANALYZE jobs"))
            compiled = text(f"EXPLAIN {statement.text}").bindparams(*statement._bindparams.values())
            plan = [row[0] for row in connection.execute(compiled, values)]
        engine.dispose()
    hashed = sum("hashed" in step for step in plan)
    suspects = sum("ix_jobs_suspects" in step for step in plan)
    assert hashed <= suspects, "\n".join(plan)  # they are a handful, and read once
    assert not [step for step in plan for bad in ("Seq Scan", "Hash Join") if bad in step], "\n".join(plan)
    on = [step for step in plan if " on jobs" in step and "Bitmap Heap" not in step]
    assert on and all(any(index in step for index in (*PARTIAL, "pk_jobs")) for step in on), "\n".join(plan)


INTERMEDIATE = (
    "SCAN CONSTANT ROW", "SCAN t", "SCAN l", "SCAN f", "SCAN q",
    "SCAN json_each VIRTUAL TABLE INDEX 1:",
    "SEARCH h USING INDEX sqlite_autoindex_jobs_1 (id=?) LEFT-JOIN",
    "SEARCH q USING INDEX sqlite_autoindex_jobs_1 (id=?)",
)  # fmt: skip
"""Steps over rows that were found already."""


PARTIAL = ("ix_jobs_line", "ix_jobs_suspects", "ix_jobs_running", "ix_jobs_followers", "uq_jobs_flight")
"""Indexes that hold no finished job."""

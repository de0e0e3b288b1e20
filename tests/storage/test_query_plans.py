"""Statements that run often do not cost more as tables grow."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import BigInteger, Boolean, Connection, String, TextClause, bindparam
from support.large_store import large_url, shared_folder
from support.storage import START_MS

import storage
from storage import webhooks
from storage.db import marks
from storage.db.database import make_engine, parse_url
from storage.db.models import Base
from storage.jobs import counts as job_counts
from storage.jobs import pages as job_pages
from storage.jobs import sql as job_sql
from storage.records import JobState
from storage.webhooks import DeliveryState

__all__ = ["large_url", "shared_folder"]

RARE = {
    "job_counts.ENDED": "once a minute, by a reader",
    "job_counts.SETTLED": "once a minute, by a reader",
    "job_counts._WRONG": "by hand",
    "job_counts._FORGET_ALL": "by hand",
    "job_counts._COUNT_ALL": "by hand",
    "job_sql.LIST": "for tests",
    "cache_entries._TOTAL": "once a sweep",
    "cache_entries._STATS": "by people",
    "takes._TOTAL": "once a sweep",
    "takes._EVICT": "once a sweep",
    "takes._UNPIN": "once a sweep",
    "sweeper._CANDIDATES": "once a sweep",
    "sweeper._REMOVE": "once a sweep",
    "sweeper._PAGE": "by hand",
    "voices._ALL": "when a voice has come or gone",
    "voices._FORGET": "when a voice has gone",
    "voices._FORGET_ORPHANS": "once a sweep",
    "voices._GONE": "once a sweep",
    "endpoints._ALL": "when an endpoint has changed",
    "pronunciations._VERSIONS": "when a dictionary has changed",
    "writer._FORGET": "when a server stops",
    "migrate._REVISION": "at the start",
    "database._NOW": "at the start",
    "sweeper._COUNT_UNLISTED": "by hand",
    "takes._OLDEST": "once a sweep, by a reader, a page at a time",
}
"""Statements that may read a table from one end to the other, and when they run."""
SMALL = {"job_counts", "marks", "writer_marks", "alembic_version"}
"""Tables that hold a few rows, however many jobs there are."""
SORTS = {
    "job_pages.page": "what the walks found, a page of each",
    "job_pages.page of FAILED": "what the walks found, a page of each",
    "job_sql.HEADS": "the head of a tenant's line, of several backends",
    "job_sql.SUSPECTS": "a handful",
    "webhooks.page": "what the walks found, a page of each",
    "webhooks._DUE": "webhooks that are due in the same millisecond",
}
"""Statements that may sort, and what."""
SORTED_AT_MOST = 2_500

NUMBERS = (
    "attempt", "audio_ms", "beat", "cache_hits", "characters", "chars", "chunks_done", "chunks_total",
    "cost_micro_usd", "counted", "deaths", "done", "excess", "failures", "gain_db", "hits", "jobs", "keep_run",
    "keep_runsync", "lane", "limit", "mark", "max_failures", "most", "most_deaths", "now", "per_line", "per_tenant",
    "retries", "sample_rate", "samples", "scan",
    "seen", "shard", "size_bytes", "status", "stored", "stream_cursor", "to", "total", "until", "used",
)  # fmt: skip
"""Parameters that are numbers, beside those that end in `_ms`."""
NAMES = {"tenant": "flood", "endpoint_id": "news", "backend": "hibari", "plain": "g", "sync": "sync-g",
         "low_priority": False, "ids": [1]}  # fmt: skip
LISTS = ("backends", "excluded", "flights", "hashes", "keys", "lanes", "receivers", "states", "tenants")


def statements() -> dict[str, TextClause]:
    """Every statement of `storage` that is written as text, by its name."""
    found: dict[str, TextClause] = {}
    for module in pkgutil.walk_packages(storage.__path__, "storage."):
        room, _, short = module.name.removeprefix("storage.").rpartition(".")
        short = f"job_{short}" if room == "jobs" else short
        for name, value in vars(importlib.import_module(module.name)).items():
            several = value if isinstance(value, dict) else {"": value}
            for key, one in several.items():
                if isinstance(one, TextClause):
                    found[f"{short}.{name} {key if isinstance(value, dict) else ''}".rstrip()] = one
    found["job_pages.page"] = job_pages.page_of(tuple(JobState))
    found["job_pages.page of FAILED"] = job_pages.page_of((JobState.FAILED,))
    for by in (("tenant", "endpoint_id"), ("job_id",)):
        found[f"webhooks.page {by[0]}"] = webhooks.page_of(by, tuple(DeliveryState))
    return found


def value_of(bind: str) -> Any:
    """Something of the right type for a parameter."""
    if bind in NAMES:
        return NAMES[bind]
    if bind in LISTS:
        return ["1"]
    return START_MS if bind.endswith("_ms") or bind == "now" else 1 if bind in NUMBERS else "1"


def runs_often(name: str, dialect: str) -> bool:
    """Return whether a statement must be fast and is used with this dialect."""
    other = "postgresql" if dialect == "sqlite" else "sqlite"
    others = (
        name.endswith(f" {other}")
        or (dialect == "postgresql" and name in ("job_sql.HEADS", "sweeper._ADD_DYING"))
        or (dialect == "sqlite" and name.endswith(("_SHARED", "_LAST_WORDS", "_WHAT_BECAME")))
    )
    locks = name.endswith("_ALONE") or name == "writer._LAST_WORDS"
    return not (others or locks or any(name == rare or name.startswith(f"{rare} ") for rare in RARE))


def written_out(statement: TextClause, connection: Connection, **values: Any) -> str:
    """The statement as the database would be given it, with its values in it."""
    given = {bind: values.get(bind, value_of(bind)) for bind in statement._bindparams}
    if connection.dialect.name == "postgresql":
        arrays = re.findall(r"CAST\(:(\w+) AS (?:text|bigint)\[\]\)", statement.text)
        given |= {bind: f"{{{','.join(map(str, given[bind]))}}}" for bind in arrays}
    if "json_each(:rings)" in statement.text:
        given["rings"] = '[["hibari", 1, ""]]'
    if isinstance(given.get("ids"), list) and "webhook_deliveries" not in statement.text:
        given["ids"] = ["1"]
    typed = [
        bindparam(bind, given[bind], type_=type_of(given[bind]), expanding=isinstance(given[bind], list))
        for bind in given
    ]
    compiled = statement.bindparams(*typed).compile(
        dialect=connection.dialect, compile_kwargs={"literal_binds": True, "render_postcompile": True}
    )
    return str(compiled).replace("%%", "%")


def type_of(value: Any) -> Any:
    """Return the SQLAlchemy type for a value, or for the items of a list."""
    one = value[0] if isinstance(value, list) else value
    return {bool: Boolean(), int: BigInteger(), str: String()}[type(one)]


@pytest.fixture(scope="module")
def large(large_url: str) -> Iterator[Connection]:
    engine = make_engine(parse_url(large_url), write=False)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # A table that is empty here is not empty everywhere.
            connection.exec_driver_sql("SET enable_seqscan = off")
        yield connection
    engine.dispose()


def test_no_statement_that_runs_often_reads_a_table_from_end_to_end(large: Connection) -> None:
    judge = scans_of_sqlite if large.dialect.name == "sqlite" else scans_of_postgresql
    often = {name: one for name, one in statements().items() if runs_often(name, large.dialect.name)}
    if large.dialect.name == "sqlite":
        often = {name: one for name, one in often.items() if "SKIP LOCKED" not in one.text}
    assert len(often) > 80
    found = {name: bad for name, one in often.items() if (bad := judge(name, written_out(one, large), large))}
    assert found == {}


def may_sort(name: str) -> bool:
    return any(name == one or name.startswith(f"{one} ") for one in SORTS)


def scans_of_sqlite(name: str, sql: str, connection: Connection) -> list[str]:
    """The steps of a plan that read a whole table or index, or sort."""
    tables = set(Base.metadata.tables)
    aliases = {alias: table for table, alias in re.findall(r"(?:FROM|JOIN|UPDATE) (\w+)(?: AS)? (\w+)", sql)}
    partial = {
        row[0] for row in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE sql LIKE '%INDEX%WHERE%'")
    }
    bad: list[str] = []
    for *_, step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}"):
        scanned = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
        if scanned and aliases.get(scanned[1], scanned[1]) in tables - SMALL and scanned[2] not in partial:
            bad.append(step)
        if "TEMP B-TREE" in step and not may_sort(name):
            bad.append(step)
    return bad


def scans_of_postgresql(name: str, sql: str, connection: Connection) -> list[str]:
    """The nodes of a plan that read a whole table or index, or sort more than a page."""
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}".replace("%", "%%")).scalar_one()
    partial = set(
        connection.exec_driver_sql("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%% WHERE %%'").scalars()
    )
    bad: list[str] = []
    nodes = [plan[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        table, index = node.get("Relation Name"), node.get("Index Name")
        if node["Node Type"] == "Seq Scan" and table not in SMALL:
            bad.append(f"Seq Scan on {table}")
        if index and table not in SMALL and "Index Cond" not in node and index not in partial:
            bad.append(f"whole of {index}")
        if "Sort" in node["Node Type"] and node["Plan Rows"] > SORTED_AT_MOST:
            bad.append(f"{node['Node Type']} of {node['Plan Rows']}")
    return bad


LOOKS = {
    "waiting": (job_sql.WAITING, {}),
    "any waiting": (job_sql.ANY_WAITING, {}),
    "any late": (job_sql.ANY_LATE, {"now": START_MS}),
    "unfinished": (job_counts.UNFINISHED, {"endpoint_id": "news"}),
    "leases": (job_sql.LEASES, {}),
    "held": (job_sql.HELD, {"owner": "w-1"}),
    "page": (job_pages.page_of(tuple(JobState)), {"tenant": "flood", "endpoint_id": "news", "limit": 101}),
    "page of FAILED": (
        job_pages.page_of((JobState.FAILED,)),
        {"tenant": "guest-2", "endpoint_id": "news", "limit": 101},
    ),
    "empty page": (job_pages.page_of(tuple(JobState)), {"tenant": "nobody", "endpoint_id": "news", "limit": 101}),
    "webhooks due": (webhooks._NEXT, {}),
    "mark": (marks.READ, {"name": "voices"}),
}
MOST_STEPS = 20_000
"""SQLite's own steps; reading an index of a million rows takes millions."""
MOST_PAGES = 1_500
"""PostgreSQL's pages of 8 KB, read once or again."""


@pytest.mark.parametrize("name", [*LOOKS, "place in a long line"])
def test_a_look_costs_little_with_a_million_rows(large: Connection, name: str) -> None:
    if name in LOOKS:
        statement, values = LOOKS[name]
    else:
        last = "SELECT id, created_ms FROM jobs WHERE state = 'IN_QUEUE' AND backend = 'google' AND tenant = 'flood' "
        row = large.exec_driver_sql(f"{last} ORDER BY created_ms DESC LIMIT 1").one()
        place = {"id": row[0], "created_ms": row[1], "backend": "google", "tenant": "flood", "limit": 1_000}
        statement, values = job_sql.AHEAD, place
        assert large.execute(statement, place).scalar_one() == 1_000, "the line is as long as places are counted"
    sql = written_out(statement, large, **values)
    if large.dialect.name == "sqlite":
        assert steps_of(sql, large) < MOST_STEPS
    else:
        (plan,) = large.exec_driver_sql(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}".replace("%", "%%")
        ).scalar_one()
        assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < MOST_PAGES


def steps_of(sql: str, connection: Connection) -> int:
    """Count the virtual machine instructions SQLite runs for a statement, rounded down to thousands."""
    driver: Any = connection.connection.driver_connection
    taken = 0

    def thousand_more() -> int:
        nonlocal taken
        taken += 1_000
        return 0

    driver.set_progress_handler(thousand_more, 1_000)
    driver.execute(sql).fetchall()
    driver.set_progress_handler(None, 0)
    return taken

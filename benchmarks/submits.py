"""Measures durable submits per second at the storage layer, beside one `sqlite3` transaction per row."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import msgspec

from benchmarks.report import RESULTS, Report, median, progress
from gateway.clock import SystemClock
from gateway.jobs.model.ids import job_id
from storage.db import migrate
from storage.db.database import Database
from storage.jobs import sql as job_sql
from storage.jobs.queue import JobStore
from storage.records import JobRecord, JobState

CLIENTS = (1, 16)


def main(scale: float = 1.0) -> None:
    """Measure in interleaved rounds; every row is committed with synchronous = FULL before its client continues."""
    report = Report("submits", "Durable submits at the storage layer beside plain sqlite3, synchronous = FULL")
    RESULTS.mkdir(exist_ok=True)
    rates: defaultdict[str, list[float]] = defaultdict(list)
    cpus: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=RESULTS) as folder:
        url = f"sqlite:///{folder}/voxgate.db"
        migrate.upgrade(url)
        for nth in range(max(3, round(7 * scale))):
            progress(f"round {nth + 1}")
            count = max(100, round(500 * scale))
            for name, took in (
                ("plain sqlite3, 1 client", _plain(Path(folder) / "plain.db", Path(folder) / "voxgate.db", count)),
                *((f"voxgate, {n} client{'s' * (n > 1)}", asyncio.run(_submit(url, n, count * n))) for n in CLIENTS),
            ):
                done, wall_s, cpu = took
                rates[name].append(done / wall_s)
                cpus[name].append(1000 * cpu / done)
    base = rates["plain sqlite3, 1 client"]
    report.table(
        ("", "submits/s", "CPU ms", "rate, of plain"),
        [
            (
                name,
                round(median(values)),
                f"{median(cpus[name]):.3f}",
                f"{median([a / b for a, b in zip(values, base, strict=True)]):.2f}",
            )
            for name, values in rates.items()
        ],
    )
    report.target("submits/s with 16 clients", median(rates["voxgate, 16 clients"]), 2000, at_least=True)
    report.write()


async def _submit(url: str, clients: int, count: int) -> tuple[int, float, float]:
    database = await Database.open(url)
    store = JobStore(database)

    async def client() -> None:
        for _ in range(count // clients):
            await store.insert(job())

    try:
        await store.insert(job())
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(client() for _ in range(clients)))
        return count, time.perf_counter() - wall, time.process_time() - cpu
    finally:
        await database.close()


def _plain(path: Path, like: Path, count: int) -> tuple[int, float, float]:
    """Insert the same rows into the same table and indexes with the standard library, one transaction each."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'jobs'").fetchone():
        with sqlite3.connect(like) as source:
            for (statement,) in source.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'jobs' AND sql != ''"):
                connection.execute(statement)
    names = job_sql.COLUMNS
    insert = f"INSERT INTO jobs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        row = msgspec.structs.asdict(job())
        row["state"] = row["state"].value
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(insert, [row[name] for name in names])
        connection.execute("COMMIT")
    took = count, time.perf_counter() - wall, time.process_time() - cpu
    connection.close()
    return took


_clock = SystemClock()


def job() -> JobRecord:
    """Make a job as `/run` accepts it."""
    now = _clock.now_ms()
    return JobRecord(
        id=job_id("run", now),
        tenant="default",
        endpoint_id="bench",
        key_id="settings",
        kind="run",
        state=JobState.IN_QUEUE,
        backend="hibari",
        chars=76,
        request='{"text":"The ferry to the island leaves at nine, and the last one comes back at six.","format":"mp3"}',
        expires_at_ms=now + 86_400_000,
        created_ms=now,
        available_ms=now,
    )


if __name__ == "__main__":
    main()

"""Measures the queue on PostgreSQL beside two queues made for it: durable submits, and submit to start."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from benchmarks.report import Report, median, progress, quantile
from benchmarks.servers import python_with
from benchmarks.submits import job
from gateway.clock import SystemClock
from gateway.jobs.model.server import Server
from gateway.jobs.run.claimer import Claimer
from gateway.metrics import Metrics
from gateway.settings import Settings
from storage.db import migrate
from storage.db.database import Database
from storage.db.notices import Topic
from storage.files.free_space import FreeSpace
from storage.jobs.queue import JobStore

CLIENTS = 16
PAUSE_S = 0.03
SETTLE_S = 1.0
"""A pause after the queue is empty, before single jobs are timed: its last writes may still be running."""
PEERS = {
    "procrastinate": ("procrastinate==3.10.0", "psycopg[binary]"),
    "pgqueuer": ("pgqueuer==1.6.0", "asyncpg"),
}
_HERE = Path(__file__).parent


class Outcome(msgspec.Struct):
    """The result of a round: submits per second, CPU ms of the submitting process for each, ms from submit to start."""

    per_s: float
    cpu_ms: float
    starts_ms: list[float]


def main(scale: float = 1.0) -> None:
    """Measure in turns on one server with default settings (every commit is synced), a new database for each round."""
    report = Report("postgres", "Jobs on PostgreSQL beside procrastinate and pgqueuer: same payload, 16 at a time")
    count, idle = max(160, round(1600 * scale)), max(20, round(100 * scale))
    outcomes: defaultdict[str, list[Outcome]] = defaultdict(list)
    server = _server()
    version = server.version()
    try:
        for nth in range(max(3, round(5 * scale))):
            progress(f"round {nth + 1}")
            for name in ("voxgate", *PEERS):
                database = server.create()
                url = server.url(database)
                if name == "voxgate":
                    migrate.upgrade(url)
                    outcomes[name].append(asyncio.run(_voxgate(url, count, idle)))
                else:
                    outcomes[name].append(_peer(name, url, count, idle))
                server.drop(database)
    finally:
        server.close()
    ours = [one.per_s for one in outcomes["voxgate"]]
    report.table(
        ("", "submits/s", "CPU ms", "voxgate's rate, of its", "submit to start p50 ms", "p99 ms"),
        [
            (
                name,
                round(median([one.per_s for one in rounds])),
                f"{median([one.cpu_ms for one in rounds]):.3f}",
                f"{median([a / one.per_s for a, one in zip(ours, rounds, strict=True)]):.2f}",
                f"{median([ms for one in rounds for ms in one.starts_ms]):.1f}",
                f"{quantile([ms for one in rounds for ms in one.starts_ms], 0.99):.1f}",
            )
            for name, rounds in outcomes.items()
        ],
        note=f"{version}, {count} submits by {CLIENTS} clients of one process; starts: {idle} jobs, one at a "
        "time, nothing else waiting, the submitter's connections apart from the worker's.",
    )
    report.write()


async def _voxgate(url: str, count: int, idle: int) -> Outcome:
    one, other = await Database.open(url), await Database.open(url)
    submitting, working = JobStore(one), JobStore(other)
    started: dict[str, float] = {}
    anything = asyncio.Event()

    async def run(run: Any) -> None:
        started[run.job.id] = time.perf_counter()
        anything.set()
        await working.ends.cancel(run.job.id)

    host = SimpleNamespace(ready=True, changed=[])
    claimer = Claimer(
        server=Server(settings=Settings(), clock=SystemClock(), metrics=Metrics(), owner="bench"),
        store=working,
        engines=cast("Any", [SimpleNamespace(name="hibari", host=host)]),
        runner=cast("Any", SimpleNamespace(run=run)),
        space=FreeSpace((), 0),
    )

    async def client(first: int) -> None:
        for _ in range(first, count, CLIENTS):
            await submitting.insert(job())

    try:
        await submitting.insert(job())
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(client(first) for first in range(CLIENTS)))
        per_s, cpu_ms = count / (time.perf_counter() - wall), 1000 * (time.process_time() - cpu) / count
        claimer.start()
        other.listen({Topic.QUEUE: lambda _: claimer.wake()})
        while len(started) < count + 1 or claimer.running:
            await asyncio.sleep(0.05)
        await asyncio.sleep(SETTLE_S)
        times = []
        for _ in range(idle):
            own, began = job(), time.perf_counter()
            await submitting.insert(own)
            while own.id not in started:
                anything.clear()
                await anything.wait()
            times.append(1000 * (started[own.id] - began))
            await asyncio.sleep(PAUSE_S)
        await claimer.stop(5)
    finally:
        await one.close()
        await other.close()
    return Outcome(per_s, cpu_ms, times)


def _peer(name: str, url: str, count: int, idle: int) -> Outcome:
    python = python_with(*PEERS[name])
    command = [str(python), str(_HERE / "postgres_peers.py"), name, url, str(count), str(CLIENTS), str(idle)]
    done = subprocess.run(command, input=job().request + "\n", capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Outcome)


def _server() -> Any:
    """Start a PostgreSQL as in the tests, but with fsync."""
    sys.path.insert(0, str(_HERE.parent / "tests"))
    from support.postgres import PostgresServer

    return PostgresServer(sync=True)


if __name__ == "__main__":
    main()

"""Times calls of the storage layer with 0, 100,000 and a million rows of each kind, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.report import RESULTS, Report, median, progress, quantile
from benchmarks.submits import job
from gateway.clock import SystemClock
from gateway.jobs.answer.totals import Totals
from storage.cache_entries import CacheStore
from storage.db import migrate
from storage.db.database import Database
from storage.files.audio import AudioStore
from storage.files.sweeper import Sweeper
from storage.jobs.counts import JobCountStore
from storage.jobs.pages import JobPages
from storage.jobs.queue import JobStore
from storage.records import BlobRecord, Completion, Lane, UsageDelta
from storage.takes import TakeStore

_TESTS = Path(__file__).parent.parent / "tests"
SIZES = (0, 100_000, 1_000_000)
CALLS = 300
TENANTS = 1000
CROWDED = "look for jobs to claim, 1,000 tenants more"
OWNER = "bench"
PAGE = 101
"""Rows read for a page of 100: one more tells whether there is a next page."""
_BUDGET_LEFT = 0.99
"""The budget of an eviction: it removes a hundredth of all bytes."""

Call = Callable[[int], Awaitable[object]]
Cost = tuple[list[float], float]
"""Wall milliseconds of each call; mean CPU milliseconds per call, of this process."""


class World(msgspec.Struct, frozen=True):
    """The stores of one database, whose calls are timed."""

    jobs: JobStore
    counts: JobCountStore
    totals: Totals
    pages: JobPages
    cache: CacheStore
    takes: TakeStore
    sweeper: Sweeper


def main(scale: float = 1.0) -> None:
    """Measure; the database itself makes the rows, and a tenth of the jobs wait."""
    report = Report("rows", "Calls of the storage layer beside more and more rows")
    sys.path.insert(0, str(_TESTS))
    RESULTS.mkdir(exist_ok=True)
    calls = max(50, round(CALLS * scale))
    sizes = [round(size * min(1.0, scale)) for size in SIZES]
    for kind in ("sqlite", "postgresql"):
        costs: dict[str, list[Cost]] = {}
        upgrades: list[tuple[object, ...]] = []
        for size in sizes:
            with _database(kind) as url:
                progress(f"{kind}, {size} rows: upgrading from the first schema")
                upgrades.append((f"{size:,} rows", f"{_upgraded(url, size):.1f}"))
            with _database(kind) as url:
                progress(f"{kind}, {size} rows")
                migrate.upgrade(url)
                _fill(url, size)
                with tempfile.TemporaryDirectory(prefix="bench-", dir=RESULTS) as folder:
                    for name, cost in asyncio.run(_measure(url, Path(folder), calls)).items():
                        costs.setdefault(name, []).append(cost)
        report.table(
            (f"{kind}: p50 / p99 / CPU, ms", *(f"{size:,} rows" for size in sizes)),
            [(name, *map(_cell, by_size)) for name, by_size in costs.items()],
        )
        report.table((f"upgrade of {kind} from the first schema", "s"), upgrades)
        for name, most in (
            ("status of a waiting job", 2),
            ("/requests", 5),
            ("/health", 2),
            ("look for ttl", 2),
            (CROWDED, 2),
        ):
            report.target(f"{kind}, {name}: CPU ms with the most rows", costs[name][-1][1], most)
    report.write()


async def _measure(url: str, folder: Path, calls: int) -> dict[str, Cost]:
    database = await Database.open(url)
    clock = SystemClock()
    counts = JobCountStore(database)
    world = World(
        JobStore(database),
        counts,
        Totals(counts, database.tally, clock),
        JobPages(database),
        CacheStore(database),
        TakeStore(database),
        Sweeper(database, AudioStore(folder), grace_s=0.0),
    )
    try:
        return await _costs(world, calls)
    finally:
        await database.close()


async def _costs(world: World, calls: int) -> dict[str, Cost]:
    submitted = [job() for _ in range(2 * calls)]
    claimed = submitted[:calls]
    waiting = submitted[calls:]
    cache_bytes = (await world.cache.stats()).size_bytes
    takes_bytes = (await world.takes.stats())[1]
    steps: dict[str, tuple[Call, int]] = {
        "submit": (lambda n: world.jobs.insert(submitted[n]), 2 * calls),
        "look for jobs to claim": (lambda n: world.jobs.leases.candidates(["hibari"]), calls),
        "claim": (lambda n: world.jobs.leases.claim([claimed[n].id], OWNER), calls),
        "end": (lambda n: world.jobs.ends.complete(claimed[n].id, OWNER, 1, _completion(n)), calls),
        "status of a waiting job": (lambda n: _status(world, waiting[n].id), calls),
        "/requests": (lambda n: world.pages.page("flood", "news", (), PAGE), calls),
        "count of finished jobs, once a minute": (lambda n: world.totals.count(), 5),
        "/health": (lambda n: _health(world), calls),
        "look for ttl": (lambda n: world.jobs.ends.expire_ttl(0), calls),
        CROWDED: (lambda n: world.jobs.leases.candidates(["hibari"]), calls),
        "evict a hundredth": (lambda n: _evict(world, cache_bytes, takes_bytes), 1),
        "sweep after it": (lambda n: world.sweeper.sweep(), 1),
    }
    costs: dict[str, Cost] = {}
    for name, (call, times) in steps.items():
        if name == CROWDED:
            await _crowd(world)
        costs[name] = await _timed(call, times)
    return costs


async def _crowd(world: World) -> None:
    """A thousand tenants begin to wait, in every lane."""
    jobs = [msgspec.structs.replace(job(), tenant=f"tenant {n}", lane=lane) for n in range(TENANTS) for lane in Lane]
    for first in range(0, len(jobs), 500):
        await asyncio.gather(*(world.jobs.insert(one) for one in jobs[first : first + 500]))


async def _status(world: World, job_id: str) -> None:
    found = await world.jobs.peek_placed(job_id)
    assert found is not None
    assert found[1]


async def _health(world: World) -> None:
    await world.counts.unfinished("news")
    await world.totals.of("news")


async def _evict(world: World, cache_bytes: int, takes_bytes: int) -> None:
    await world.cache.evict(round(cache_bytes * _BUDGET_LEFT))
    await world.takes.evict(round(takes_bytes * _BUDGET_LEFT))


def _completion(n: int) -> Completion:
    return Completion(
        output='{"cache_hit":false}',
        follower_output='{"cache_hit":true}',
        blob=BlobRecord(f"{n:064x}", 20_000, ".mp3", spool="spoken"),
        cache_entry=None,
        cache_key=None,
        delay_ms=5,
        execution_ms=70,
        backend="hibari",
        worker_id="w1",
        usage=UsageDelta(characters=40, audio_ms=900),
        now=SystemClock().now_ms(),
    )


async def _timed(call: Call, times: int) -> Cost:
    walls: list[float] = []
    cpu = time.process_time()
    for n in range(times):
        began = time.perf_counter()
        await call(n)
        walls.append(1000 * (time.perf_counter() - began))
    return walls, 1000 * (time.process_time() - cpu) / times


def _cell(cost: Cost) -> str:
    walls, cpu = cost
    return f"{median(walls):.2f} / {quantile(walls, 0.99):.2f} / {cpu:.2f}"


def _fill(url: str, rows: int) -> None:
    from support.large_store import fill

    if rows:
        fill(url, rows, rows // 10)


def _upgraded(url: str, rows: int) -> float:
    """Return seconds of an upgrade from the first schema with rows in it."""
    from support.old_database import make_old

    make_old(url)
    _fill(url, rows)
    began = time.perf_counter()
    migrate.upgrade(url)
    return time.perf_counter() - began


@contextlib.contextmanager
def _database(kind: str) -> Iterator[str]:
    """Yield the URL of an empty database; PostgreSQL is started as in the tests, but with fsync."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="bench-", dir=RESULTS) as folder:
            yield f"sqlite:///{folder}/voxgate.db"
        return
    server = _server()
    name = server.create()
    try:
        yield server.url(name)
    finally:
        server.close()


def _server() -> Any:
    from support.postgres import PostgresServer

    return PostgresServer(sync=True)


if __name__ == "__main__":
    main()

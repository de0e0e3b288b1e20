"""Times submits and deletions while entries and takes are evicted and their files swept.

A scale of 0.05 takes about three minutes. The CPU is that of this process, submits included, without PostgreSQL's."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.report import RESULTS, Report, progress, quantile
from benchmarks.submits import job
from gateway.clock import SystemClock
from storage.cache_entries import CacheStore
from storage.db import migrate
from storage.db.database import Database
from storage.files.audio import AudioStore
from storage.files.sweeper import Sweeper
from storage.jobs.queue import JobStore
from storage.records import BlobRecord, TakeRecord
from storage.takes import TakeStore

ROWS = 1_000_000
FILES = 100_000
LEAST_FILES = 25_000
"""Several pages of a sweep, since it removes the files of one page beside the rows of the next."""
GAP_S = 0.01
"""Seconds between two submits."""
_DAY_MS = 86_400_000


class Submits:
    """Submits one job after the other, and notes the time of each."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self.waits_ms: list[float] = []

    async def during(self, work: Callable[[], Awaitable[object]]) -> float:
        """Submit while `work` runs; returns its seconds."""
        task = asyncio.create_task(self._submit())
        began = time.perf_counter()
        try:
            await work()
            return time.perf_counter() - began
        finally:
            task.cancel()

    async def _submit(self) -> None:
        while True:
            began = time.perf_counter()
            await self._jobs.insert(job())
            self.waits_ms.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(GAP_S)


def main(scale: float = 1.0) -> None:
    """Measure on SQLite, then on PostgreSQL."""
    rows, files = round(ROWS * scale), max(LEAST_FILES, round(FILES * scale))
    report = Report("sweeps", f"Evictions and sweeps of {rows:,} rows of each kind, beside a submit every 10 ms")
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.postgres import PostgresServer

    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=RESULTS) as folder:
        table = asyncio.run(_measure("SQLite", f"sqlite:///{folder}/voxgate.db", Path(folder), rows, files))
        server = PostgresServer(sync=True)
        try:
            url = server.url(server.create())
            table += asyncio.run(_measure("PostgreSQL", url, Path(folder) / "shared", rows, files))
        finally:
            server.close()
    report.table(
        ("", "step", "rows or files", "s", "per s", "CPU us each", "submits", "p50 ms", "p99 ms", "most ms"), table
    )
    for kind in ("SQLite", "PostgreSQL"):
        steps = [row for row in table if row[0] == kind and row[6]]
        worst = max(float(row[8]) for row in steps)
        report.target(f"{kind}: p99 of a submit in ms, in the worst step", worst, 50)
        each = {str(row[1]): float(row[3]) / float(row[2]) for row in steps}  # seconds
        million = ROWS * (max(each["evict takes"], each["evict entries"]) + each["sweep blobs with files"])
        how = "" if rows == ROWS and files == ROWS else ", calculated from fewer"
        report.target(f"{kind}: s for a million takes or entries over budget, and their files{how}", million, 120)
    report.write()


async def _measure(kind: str, url: str, folder: Path, rows: int, files: int) -> list[list[object]]:
    from support.large_store import fill

    progress(f"{kind}: filling")
    migrate.upgrade(url)
    fill(url, rows, waiting=rows // 10)
    database, clock = await Database.open(url), SystemClock()
    jobs, takes, cache = JobStore(database, clock), TakeStore(database, clock), CacheStore(database, clock)
    audio = AudioStore(folder / "audio")
    sweeper = Sweeper(database, audio, clock, grace_s=0.0)
    table: list[list[object]] = []

    async def step(name: str, count: int, work: Callable[[], Awaitable[object]]) -> None:
        submits = Submits(jobs)
        before_s = time.process_time()
        took = await submits.during(work)
        cpu_us = 1e6 * (time.process_time() - before_s) / count
        waits = submits.waits_ms
        progress(f"{kind}: {name}: {took:.1f} s, submits p99 {quantile(waits, 0.99):.0f} ms")
        waited = (*(quantile(waits, q) for q in (0.5, 0.99)), max(waits, default=0.0))
        table.append([kind, name, count, took, count / took, cpu_us, len(waits), *waited])

    try:
        await step("nothing", 1, lambda: asyncio.sleep(5))
        await step("budgets are kept", rows, lambda: _both(takes, cache, 10**15))
        await step("evict takes", rows, lambda: takes.evict(0))
        await step("evict entries", rows, lambda: cache.evict(0))
        await step("delete jobs", rows - rows // 10, lambda: jobs.delete_retained(clock.now_ms() + 3_650 * _DAY_MS))
        await asyncio.sleep(0.01)
        await step("sweep blobs without files", rows, sweeper._sweep_loose)
        paths = _write(audio, files)
        await step("only remove as many files", files, lambda: asyncio.to_thread(_remove, paths))
        await _put(takes, audio, files)
        await takes.evict(0)
        await asyncio.sleep(0.01)
        await step("sweep blobs with files", files, sweeper._sweep_loose)
        assert not list(audio.root.glob("??/??/*"))
    finally:
        await database.close()
    return table


async def _both(takes: TakeStore, cache: CacheStore, budget: int) -> None:
    for _ in range(5):
        await takes.evict(budget)
        await cache.evict(budget)


def _write(audio: AudioStore, files: int) -> list[Path]:
    """Write files of some hundred bytes to their places in the store, without fsync."""
    paths = []
    for n in range(files):
        data = b"%d " % n * 40
        path = audio.blobs.where(hashlib.sha256(data).hexdigest(), ".flac")
        os.makedirs(path.parent, exist_ok=True)  # noqa: PTH103 - quicker
        path.write_bytes(data)
        paths.append(path)
    return paths


def _remove(paths: list[Path]) -> None:
    """Remove files one after the other, in one thread: what the disk takes for it."""
    for path in paths:
        path.unlink()


async def _put(takes: TakeStore, audio: AudioStore, files: int) -> None:
    """Store takes with files."""
    paths = await asyncio.to_thread(_write, audio, files)
    for start in range(0, files, 500):
        stored = []
        for path in paths[start : start + 500]:
            blob = BlobRecord(path.stem, path.stat().st_size, path.suffix)
            stored.append((TakeRecord(f"file-{blob.hash}", blob.hash, 1, 24_000, blob.size_bytes), blob))
        await takes.store_many(stored, "nobody", 1, "a")


if __name__ == "__main__":
    main()

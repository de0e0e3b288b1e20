"""The peers of the queue on PostgreSQL, in separate environments: `postgres_peers.py NAME URL COUNT CLIENTS`.

Writes one line of JSON: see `Outcome` in postgres.py. Each submit is a separate commit.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

NAME, URL, COUNT, CLIENTS, IDLE = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
PAYLOAD = json.loads(sys.stdin.readline())
PAUSE_S = 0.03
SETTLE_S = 1.0

Submit = Callable[[str], Awaitable[object]]
started: dict[str, float] = {}
anything = asyncio.Event()


def handle(job: str) -> None:
    """Handle a job in the worker: note its start."""
    started[job] = time.perf_counter()
    anything.set()


async def rate(submit: Submit) -> tuple[float, float]:
    """Return submits per second, and CPU ms of this process for each."""

    async def client(first: int) -> None:
        for n in range(first, COUNT, CLIENTS):
            await submit(f"rate-{n}")

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client(first) for first in range(CLIENTS)))
    return COUNT / (time.perf_counter() - wall), 1000 * (time.process_time() - cpu) / COUNT


async def starts(submit: Submit) -> list[float]:
    """Return milliseconds from before the submit to the handler's first line, one job at a time."""
    times = []
    for n in range(IDLE):
        job, began = f"idle-{n}", time.perf_counter()
        await submit(job)
        while job not in started:
            anything.clear()
            await anything.wait()
        times.append(1000 * (started[job] - began))
        await asyncio.sleep(PAUSE_S)
    return times


async def procrastinate() -> dict[str, object]:
    """Measure procrastinate (https://procrastinate.readthedocs.io): psycopg, a pool with a connection per client."""
    from procrastinate import App, PsycopgConnector  # type: ignore[import-not-found]

    app = App(connector=PsycopgConnector(conninfo=URL, min_size=CLIENTS + 2, max_size=CLIENTS + 2))

    @app.task(name="speak", queue="speech")  # type: ignore[untyped-decorator]
    async def speak(job: str, request: dict[str, object]) -> None:
        handle(job)

    async with app.open_async():
        await app.schema_manager.apply_schema_async()

        async def submit(job: str) -> None:
            await speak.defer_async(job=job, request=PAYLOAD)

        await submit("warm")
        per_s, cpu_ms = await rate(submit)
        worker = asyncio.create_task(app.run_worker_async(concurrency=CLIENTS, install_signal_handlers=False))
        while len(started) < COUNT + 1:
            await asyncio.sleep(0.05)
        await asyncio.sleep(SETTLE_S)
        times = await starts(submit)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    return {"per_s": per_s, "cpu_ms": cpu_ms, "starts_ms": times}


async def pgqueuer() -> dict[str, object]:
    """Measure pgqueuer (https://pgqueuer.readthedocs.io): asyncpg, a pool with a connection per client."""
    import asyncpg  # type: ignore[import-not-found]
    from pgqueuer import PgQueuer  # type: ignore[import-not-found]
    from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver  # type: ignore[import-not-found]
    from pgqueuer.queries import Queries  # type: ignore[import-not-found]

    async with asyncpg.create_pool(URL, min_size=CLIENTS, max_size=CLIENTS) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        await queries.install()

        async def submit(job: str) -> None:
            await queries.enqueue("speak", json.dumps({"job": job, "request": PAYLOAD}).encode())

        await submit("warm")
        per_s, cpu_ms = await rate(submit)
        connection = await asyncpg.connect(URL)
        worker = PgQueuer(AsyncpgDriver(connection))

        @worker.entrypoint("speak")  # type: ignore[untyped-decorator]
        async def speak(job: object) -> None:
            handle(json.loads(job.payload)["job"])  # type: ignore[attr-defined]

        running = asyncio.create_task(worker.run(batch_size=CLIENTS, max_concurrent_tasks=2 * CLIENTS))
        while len(started) < COUNT + 1:
            await asyncio.sleep(0.05)
        await asyncio.sleep(SETTLE_S)
        times = await starts(submit)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await connection.close()
    return {"per_s": per_s, "cpu_ms": cpu_ms, "starts_ms": times}


if __name__ == "__main__":
    outcome = asyncio.run({"procrastinate": procrastinate, "pgqueuer": pgqueuer}[NAME]())
    print(json.dumps(outcome), flush=True)

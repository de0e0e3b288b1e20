"""Measures the latency of small requests while every core speaks, beside a bare route on the same machine."""

from __future__ import annotations

import time

from benchmarks import load, servers, texts
from benchmarks.report import Report, median, progress, quantile

PATHS = ("/health/live", f"/v2/{servers.ENDPOINT}/health")


def main(scale: float = 1.0) -> None:
    """Measure on an idle, then on a busy server, taking turns with the bare route."""
    report = Report("health", "Small questions while every core speaks, beside a bare Litestar route")
    rounds, seconds = max(3, round(8 * scale)), 1.0
    with servers.gateway() as server, servers.bare(b"{}") as bare:
        asked = [("bare route", bare, "POST", "/runsync")] + [(path, server, "GET", path) for path in PATHS]
        idle = _measure(asked, rounds, seconds)
        ids = [
            server.ask("POST", f"/v2/{servers.ENDPOINT}/run", {"input": {"text": texts.story(60_000, seed)}})["id"]
            for seed in range(20)
        ]
        give_up = time.monotonic() + 10
        while _state(server, ids[0]) != "IN_PROGRESS" and time.monotonic() < give_up:
            time.sleep(0.05)
        busy = _measure(asked, rounds, seconds)
        still = sum(_state(server, job_id) in ("IN_QUEUE", "IN_PROGRESS") for job_id in ids)
        server.ask("POST", f"/v2/{servers.ENDPOINT}/purge-queue")
        for job_id in ids:
            server.ask("POST", f"/v2/{servers.ENDPOINT}/cancel/{job_id}")
    rows = [
        (name, *(f"{q:.2f}" for q in (*idle[name], *busy[name])), f"{busy[name][1] / busy['bare route'][1]:.2f}")
        for name, *_ in asked
    ]
    report.table(
        ("", "idle p50 ms", "idle p99 ms", "busy p50 ms", "busy p99 ms", "busy p99, of bare"),
        rows,
        f"Busy: 20 long texts queued at the embedded voice, a worker on every core; {still} of them were "
        "unfinished at the end. One question every 10 ms.",
    )
    for path in PATHS:
        report.target(f"{path} p99 ms while every core speaks", busy[path][1], 50)
    report.write()


def _measure(
    asked: list[tuple[str, servers.Server, str, str]], rounds: int, seconds: float
) -> dict[str, tuple[float, float]]:
    times: dict[str, list[float]] = {name: [] for name, *_ in asked}
    for nth in range(rounds):
        progress(f"round {nth + 1}")
        for name, server, method, path in asked:
            plan = load.Plan(server.port, (load.Step(method, path),), 1, seconds, server.key, pause_s=0.01)
            times[name] += load.run(plan).times_ms
    return {name: (median(values), quantile(values, 0.99)) for name, values in times.items()}


def _state(server: servers.Server, job_id: str) -> str:
    return str(server.ask("GET", f"/v2/{servers.ENDPOINT}/status/{job_id}")["status"])


if __name__ == "__main__":
    main()

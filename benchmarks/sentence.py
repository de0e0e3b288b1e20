"""Measures a short uncached sentence: the time the gateway adds to its engine, beside a script."""

from __future__ import annotations

import itertools
import re
import time

from benchmarks import servers, texts
from benchmarks.direct import Direct
from benchmarks.processes import family_cpu_s
from benchmarks.report import Report, median, progress, quantile

_ENGINE = re.compile(r"^voxgate_engine_seconds_total\S* (\S+)$", re.MULTILINE)


def main(scale: float = 1.0) -> None:
    """Measure each sentence through the gateway and the script in turn."""
    report = Report("sentence", "A short uncached sentence beside a script that calls the same engine and encoder")
    count = max(20, round(200 * scale))
    source = texts.short_sentences()
    with servers.gateway() as server, Direct() as direct:
        rows = []
        outcomes: list[tuple[str, float, float]] = []
        for format in ("mp3", "wav"):  # noqa: A001
            progress(f"{count} sentences as {format}")
            added, total, theirs, their_added, cpu, their_cpu = [], [], [], [], [], []
            for text in itertools.islice(source, count):
                engine_before, cpu_before = engine_s(server), family_cpu_s(server.pid)
                began = time.perf_counter()
                server.speak(text, format=format)
                wall_s = time.perf_counter() - began
                cpu.append(family_cpu_s(server.pid) - cpu_before)
                total.append(wall_s)
                added.append(wall_s - (engine_s(server) - engine_before))
                alone = direct.speak(text, 1, format)
                theirs.append(alone.wall_s)
                their_cpu.append(alone.cpu_s)
                their_added.append(alone.wall_s - alone.engine_s)
            rows += [_row(f"voxgate {format}", added, total, cpu, theirs, their_cpu)]
            rows += [_row(f"script {format}", their_added, theirs, their_cpu, theirs, their_cpu)]
            outcomes.append((format, 1000 * median(added), 1000 * quantile(added, 0.99)))
    report.table(
        ("", "added p50 ms", "added p99 ms", "whole p50 ms", "whole p99 ms", "CPU ms", "whole, of script's"),
        rows,
        "Added is everything but the engine: HTTP, key, plan, job row, lease, queue, worker, take and its row, "
        "joining, encoding, file, final row, answer. One caller at a time; CPU of all its processes.",
    )
    for format, p50, p99 in outcomes:  # noqa: A001
        report.target(f"added to a short sentence, {format}, p50 ms", p50, 10)
        report.target(f"added to a short sentence, {format}, p99 ms", p99, 25)
    report.write()


def engine_s(server: servers.Server) -> float:
    """Return the seconds engines have spoken so far, from the gateway's own counter."""
    return sum(float(found) for found in _ENGINE.findall(server.ask("GET", "/metrics")))


def _row(
    name: str, added: list[float], total: list[float], cpu: list[float], theirs: list[float], their_cpu: list[float]
) -> tuple[object, ...]:
    return (
        name,
        f"{1000 * median(added):.1f}",
        f"{1000 * quantile(added, 0.99):.1f}",
        f"{1000 * median(total):.1f}",
        f"{1000 * quantile(total, 0.99):.1f}",
        f"{1000 * sum(cpu) / len(cpu):.1f}",
        f"{median([mine / other for mine, other in zip(total, theirs, strict=True)]):.2f}",
    )


if __name__ == "__main__":
    main()

"""Measures the wait of a tenant's sentence beside backlogs of another tenant, with and without lowPriority."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks import servers
from benchmarks.report import RESULTS, Report, median, progress

BACKLOGS = (1, 16, 64)
CHUNK_S = 0.2
"""Seconds the engine takes for each chunk, independent of the machine's load."""
PARAGRAPHS = 30
SETTLE_S = 1.5
_numbers = itertools.count()


def main(scale: float = 1.0) -> None:
    """Measure on one server and on two; each engine speaks one chunk at a time."""
    report = Report("fairness", f"A sentence beside backlogs of another tenant; a chunk takes {CHUNK_S * 1000:.0f} ms")
    sentences = max(3, round(10 * scale))
    table: list[tuple[object, ...]] = []
    worst = 0
    RESULTS.mkdir(exist_ok=True)
    for count in (1, 2):
        with tempfile.TemporaryDirectory(dir=RESULTS) as folder, contextlib.ExitStack() as stack:
            record = Path(folder) / "record"
            settings = {
                "VOXGATE_BACKENDS__SCRIPTED__RECORD": record,
                "VOXGATE_BACKENDS__SCRIPTED__TARGET_CHARS": 50,
                "VOXGATE_BACKENDS__SCRIPTED__SECONDS_PER_CHAR": 0.005,
            }
            first = stack.enter_context(servers.gateway("scripted", **settings))
            every = [first]
            if count == 2:
                every.append(stack.enter_context(servers.gateway("scripted", beside=first, **settings)))
            second = first.of_tenant("second")
            callers = [msgspec.structs.replace(second, pid=one.pid, port=one.port) for one in every]
            for books, low in itertools.product(BACKLOGS, (False, True)):
                progress(f"{count} server(s), {books} backlogs{', low' if low else ''}")
                times, others = _measure(first, callers, books, low=low, sentences=sentences, record=record)
                priority = "low" if low else "normal"
                waits = (round(median(times)), round(max(times)), round(median(others)), max(others))
                table.append((count, books, priority, *waits))
                worst = max(worst, max(others))
    report.table(
        ("servers", "backlogs", "their priority", "sentence ms p50", "worst ms", "chunks before it p50", "worst"),
        table,
        f"{sentences} sentences one after the other, at each server in turn. A backlog is a text of {PARAGRAPHS} "
        "chunks. Chunks of others that were begun after a sentence was sent and ended before it, by each engine.",
    )
    report.target("chunks a sentence waits for, at most", worst, 2)
    report.write()


def _measure(
    first: servers.Server, callers: Sequence[servers.Server], books: int, *, low: bool, sentences: int, record: Path
) -> tuple[list[float], list[int]]:
    policy = {"policy": {"lowPriority": True}} if low else {}
    run, options = f"/v2/{servers.ENDPOINT}/run", {"chunk_delay_s": CHUNK_S}
    ids = []
    for _ in range(books):
        name = next(_numbers)
        text = "\n\n".join(f"Text {name}, paragraph {n} of a long one." for n in range(PARAGRAPHS))
        ids.append(first.ask("POST", run, {"input": {"text": text, "options": options}, **policy})["id"])
    time.sleep(SETTLE_S)
    times, others = [], []
    for n in range(sentences):
        text = f"Sentence {next(_numbers)} is what somebody waits for."
        before = _spoken(record)
        began = time.monotonic()
        callers[n % len(callers)].speak(text, options=options)
        times.append(1000 * (time.monotonic() - began))
        lines = record.read_text().splitlines()[before:]
        ahead = next(k for k, line in enumerate(lines) if text in line)
        # Chunks that the engines were already speaking when it came do not count as its wait.
        others.append(max(0, -(-ahead // len(callers)) - 1))
    first.ask("POST", f"/v2/{servers.ENDPOINT}/purge-queue")
    for job_id in ids:
        first.ask("POST", f"/v2/{servers.ENDPOINT}/cancel/{job_id}")
    return times, others


def _spoken(record: Path) -> int:
    return len(record.read_text().splitlines())


if __name__ == "__main__":
    main()

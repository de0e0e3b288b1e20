"""Measures `/stream`: a held poll, a delivered page, and the time to the first item, each beside a peer."""

from __future__ import annotations

import http.client
import itertools
import json
import time

from benchmarks import load, servers, texts
from benchmarks.openai import TAKE_S, first_audio_s
from benchmarks.processes import cpu_s
from benchmarks.report import Report, median, progress, quantile

CONNECTIONS = (16, 64)
WAIT_MS = 1000
PARAGRAPHS = 6
DRAINS = 32
STREAM, STATUS, RUN = (f"/v2/{servers.ENDPOINT}/{verb}" for verb in ("stream/{id}", "status/{id}", "run"))
NOTHING = b'{"status":"IN_PROGRESS","stream":[]}'


def main(scale: float = 1.0) -> None:
    """Measure, in interleaved rounds."""
    report = Report("stream", "/stream beside a bare Litestar route, /status, and the engine's first take")
    _held(report, scale)
    _delivered(report, scale)
    _first_item(report, max(5, round(30 * scale)))
    report.write()


class _Case:
    """One kind of request to one server; collects CPU and time of each answer."""

    def __init__(self, name: str, server: servers.Server, path: str, expect: str = "") -> None:
        self.name = name
        self.server = server
        self.step = load.Step("GET", path, expect=expect)
        self.cpu_ms: list[float] = []
        self.times_ms: list[float] = []
        self.answer_bytes = 0

    def round(self, ids: list[str], seconds: float) -> None:
        """Run one round with a connection for each id; counts the CPU of the server process, user and system."""
        plan = load.Plan(self.server.port, (self.step,), len(ids), seconds, self.server.key, ids=tuple(ids))
        before = cpu_s(self.server.pid)
        outcome = load.run(plan)
        self.cpu_ms.append((cpu_s(self.server.pid) - before) * 1000 / outcome.rounds)
        self.times_ms += outcome.times_ms
        self.answer_bytes = outcome.answer_bytes

    def of(self, peer: _Case) -> float:
        """Return the median of the rounds' ratios; within a round both are measured directly one after the other."""
        pairs = zip(self.cpu_ms, peer.cpu_ms, strict=True)
        return median([mine / theirs for mine, theirs in pairs if theirs])


def _held(report: Report, scale: float) -> None:
    """Measure polls of jobs that never speak: each poll is held for a second and answered without items."""
    rounds, seconds = max(2, round(5 * scale)), max(2.0, 6 * scale)
    settings = {"VOXGATE_JOBS__MAX_RUNNING": max(CONNECTIONS), "VOXGATE_SHUTDOWN_GRACE_S": 0}
    rows = []
    with servers.gateway("scripted", **settings) as server, servers.bare(NOTHING) as bare:
        ids = [_submit(server, f"Nobody hears number {n}.", delay_s=3600) for n in range(max(CONNECTIONS))]
        for connections in CONNECTIONS:
            cases = [
                _Case("bare route that sleeps", bare, f"/held/{{id}}?wait={WAIT_MS}"),
                _Case("/stream", server, f"{STREAM}?wait={WAIT_MS}", '"stream":[]'),
                _Case("/status-sync", server, f"{STATUS.replace('status', 'status-sync')}?wait={WAIT_MS}"),
            ]
            for nth in range(rounds):
                progress(f"held, {connections} connections, round {nth + 1}")
                for case in cases:
                    case.round(ids[:connections], seconds)
            for case in cases:
                times = [f"{quantile(case.times_ms, q):.0f}" for q in (0.5, 0.99)]
                rows.append((connections, case.name, f"{median(case.cpu_ms):.2f}", *times))
        before, began = cpu_s(server.pid), time.monotonic()
        time.sleep(seconds)
        idle = (cpu_s(server.pid) - before) * 1000 / (time.monotonic() - began)
    report.table(
        ("polls at a time", "held for 1 s", "CPU ms per poll", "p50 ms", "p99 ms"),
        rows,
        f"Each poll asks of a job of its own, {len(ids)} of which are under way; with nobody asking the gateway takes "
        f"{idle:.0f} ms of CPU per second for them, which is in its rows. CPU is counted in steps of 10 ms.",
    )


def _delivered(report: Report, scale: float) -> None:
    """Measure a page with all items of a finished job."""
    text = "\n\n".join(itertools.islice(texts.sentences(seed=9), PARAGRAPHS))
    with servers.gateway("scripted", VOXGATE_BACKENDS__SCRIPTED__SECONDS_PER_CHAR=0.06) as server:
        server.speak(text, format="mp3")
        again = _submit(server, text)
        page = server.ask("GET", STREAM.format(id=again) + "?from=0")
        items = len(page["stream"])
        assert page["status"] == "COMPLETED" and items > 1, page["status"]
        with servers.bare(json.dumps(page, separators=(",", ":")).encode()) as bare:
            cases = [
                _Case("bare route, the same bytes", bare, "/status/{id}", "COMPLETED"),
                _Case("/stream, drained: read, encoded, given once", server, STREAM, '"index":0'),
                _Case("/stream?from=0, read again", server, f"{STREAM}?from=0", '"index":0'),
                _Case("/status of the same job", server, STATUS, "COMPLETED"),
            ]
            for nth in range(max(3, round(8 * scale))):
                progress(f"delivered, round {nth + 1}")
                for case in cases:
                    drained = case is cases[1]
                    ids = [_submit(server, text) for _ in range(DRAINS)] if drained else [again] * 4
                    case.round(ids, 0 if drained else max(0.4, scale))
    report.table(
        ("", "CPU ms per page", "CPU ms per item", "of bare", "p50 ms", "p99 ms", "KB"),
        [
            (
                case.name,
                f"{median(case.cpu_ms):.2f}",
                f"{median(case.cpu_ms) / items:.3f}",
                f"{case.of(cases[0]):.2f}",
                *(f"{quantile(case.times_ms, q):.1f}" for q in (0.5, 0.99)),
                round(case.answer_bytes / 1000),
            )
            for case in cases
        ],
        f"A job of {items} chunks as mp3. Drained: {DRAINS} jobs asked at the same moment, each once; the others 4 "
        "connections, one request after the other.",
    )


def _first_item(report: Report, count: int) -> None:
    """Measure a poll that waits for the first item of an engine that takes exactly TAKE_S for a take."""
    source = texts.sentences(seed=11)
    items: list[float] = []
    audio: list[float] = []
    with servers.gateway("scripted") as server:
        progress(f"{2 * count} texts, a take of {TAKE_S} s")
        for _ in range(count):
            first, second = ("\n\n".join(itertools.islice(source, 3)) for _ in range(2))
            items.append(_first_item_s(server, first))
            audio.append(first_audio_s(server, second, "mp3", {"chunk_delay_s": TAKE_S}))
    report.table(
        ("", "first take ms", "p50 ms", "p99 ms", "after the take p50 ms", "of the take"),
        [
            (
                name,
                f"{1000 * TAKE_S:.0f}",
                *(f"{1000 * quantile(values, q):.0f}" for q in (0.5, 0.99)),
                f"{1000 * (median(values) - TAKE_S):.1f}",
                f"{median(values) / TAKE_S:.2f}",
            )
            for name, values in (("/run, /stream: first item", items), ("/v1/audio/speech: first byte", audio))
        ],
        "From the request to the first item of a poll that is held, and to the first byte of OpenAI's surface. The "
        "engine waits 300 ms for every take; three paragraphs as mp3, one caller at a time.",
    )
    report.target("first item, of a first take of 300 ms", median(items) / TAKE_S, 1.2)


def _first_item_s(server: servers.Server, text: str) -> float:
    """Return seconds from the request until the caller has the first item."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.key}"}
    asked = {"input": {"text": text, "format": "mp3", "options": {"chunk_delay_s": TAKE_S}}}
    began = time.perf_counter()
    connection.request("POST", RUN, json.dumps(asked), headers)
    job = json.loads(connection.getresponse().read())
    page = {"stream": []}
    while not page["stream"]:
        connection.request("GET", STREAM.format(id=job["id"]), headers=headers)
        page = json.loads(connection.getresponse().read())
    took = time.perf_counter() - began
    connection.close()
    # Wait until the rest is spoken before the next measurement: the engine speaks one chunk at a time.
    server.ask("GET", f"/v2/{servers.ENDPOINT}/status-sync/{job['id']}?wait=60000")
    return took


def _submit(server: servers.Server, text: str, **options: float) -> str:
    """Submit a job through `/run`; returns its id."""
    return str(server.ask("POST", RUN, {"input": {"text": text, "format": "mp3", "options": options}})["id"])


if __name__ == "__main__":
    main()

"""Measures cached answers: `/runsync` from memory and disk, `/run` + `/status`, beside a bare route and RunPod."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict

from benchmarks import load, servers
from benchmarks.processes import cpu_s
from benchmarks.report import Report, median, progress, quantile

TEXT = "The ferry to the island leaves at nine."
CONNECTIONS = (1, 16, 64)


class Case:
    """One kind of request to one server; collects the results of the rounds."""

    def __init__(self, name: str, server: servers.Server, steps: tuple[load.Step, ...]) -> None:
        self.name = name
        self.server = server
        self.steps = steps
        self.cpu_ms: defaultdict[int, list[float]] = defaultdict(list)
        self.per_s: defaultdict[int, list[float]] = defaultdict(list)
        self.times_ms: defaultdict[int, list[float]] = defaultdict(list)

    def round(self, connections: int, seconds: float) -> None:
        """Run one round; counts the CPU of the server process, user and system."""
        plan = load.Plan(self.server.port, self.steps, connections, seconds, self.server.key)
        before = cpu_s(self.server.pid)
        outcome = load.run(plan)
        self.cpu_ms[connections].append((cpu_s(self.server.pid) - before) * 1000 / outcome.rounds)
        self.per_s[connections].append(outcome.rounds / outcome.seconds)
        self.times_ms[connections] += outcome.times_ms


def main(scale: float = 1.0) -> None:
    """Measure, in interleaved rounds."""
    report = Report("hits", "Cached answers beside a bare Litestar route and RunPod's local API server")
    body = json.dumps({"input": {"text": TEXT, "format": "mp3"}})
    with contextlib.ExitStack() as stack:
        hot = stack.enter_context(servers.gateway(VOXGATE_BACKENDS__HIBARI__WORKERS=1))
        cold = stack.enter_context(servers.gateway(VOXGATE_BACKENDS__HIBARI__WORKERS=1, VOXGATE_CACHE__HOT_BYTES=0))
        for server in (hot, cold):
            server.speak(TEXT, format="mp3")
        answer = hot.speak(TEXT, format="mp3")
        data = json.dumps(answer, separators=(",", ":")).encode()
        bare = stack.enter_context(servers.bare(data))
        runpod = stack.enter_context(servers.runpod(json.dumps(answer["output"]).encode()))

        sync = f"/v2/{servers.ENDPOINT}/runsync"
        both = (
            load.Step("POST", f"/v2/{servers.ENDPOINT}/run", body),
            load.Step("GET", f"/v2/{servers.ENDPOINT}/status/{{id}}", expect="COMPLETED"),
        )
        cases = [
            Case("bare Litestar route", bare, (load.Step("POST", "/runsync", body, "COMPLETED"),)),
            Case("ordinary Litestar handler", bare, (load.Step("POST", sync, body, "COMPLETED"),)),
            Case("voxgate /runsync, hot", hot, (load.Step("POST", sync, body, '"cache_hit":true'),)),
            Case("voxgate /runsync, cold", cold, (load.Step("POST", sync, body, '"cache_hit":true'),)),
            Case("runpod /runsync", runpod, (load.Step("POST", "/runsync", body, "COMPLETED"),)),
            Case(
                "bare /run + /status",
                bare,
                (load.Step("POST", "/run", body), load.Step("GET", "/status/{id}", expect="COMPLETED")),
            ),
            Case("voxgate /run + /status, durable", hot, both),
            Case(
                "runpod /run + /status, not durable",
                runpod,
                (load.Step("POST", "/run", body), load.Step("POST", "/status/{id}", "{}", "COMPLETED")),
            ),
        ]
        for nth in range(max(2, round(5 * scale))):
            for connections in CONNECTIONS:
                progress(f"round {nth + 1}, {connections} connections")
                for case in cases:
                    case.round(connections, max(0.4, scale))

    peers = {case.name: case for case in cases}
    for connections in CONNECTIONS:
        print(f"{connections} connections, answers of {len(data) / 1000:.1f} KB\n")
        rows = []
        for case in cases:
            base = peers["bare Litestar route" if len(case.steps) == 1 else "bare /run + /status"]
            theirs = peers["runpod /runsync" if len(case.steps) == 1 else "runpod /run + /status, not durable"]
            cpu = median(case.cpu_ms[connections])
            rows.append(
                (
                    case.name,
                    f"{cpu:.3f}",
                    f"{_ratio(case, base, connections):.2f}",
                    f"{_ratio(case, theirs, connections):.2f}",
                    round(median(case.per_s[connections])),
                    f"{quantile(case.times_ms[connections], 0.5):.2f}",
                    f"{quantile(case.times_ms[connections], 0.99):.2f}",
                )
            )
        report.table(("", "CPU ms", "of bare", "of runpod", "per s", "p50 ms", "p99 ms"), rows)
    for connections in CONNECTIONS:
        at = f"at {connections} connections"
        hits, colds = peers["voxgate /runsync, hot"], peers["voxgate /runsync, cold"]
        durable = peers["voxgate /run + /status, durable"]
        for peer, wanted in (
            ("bare Litestar route", 1.0),
            ("ordinary Litestar handler", 1.0),
            ("runpod /runsync", 0.5),
        ):
            report.target(f"hot hit, CPU of {peer}'s, {at}", _ratio(hits, peers[peer], connections), wanted)
        report.target(f"cold hit, CPU ms, {at}", median(colds.cpu_ms[connections]), 0.6)
        report.target(f"/run + /status, CPU ms, {at}", median(durable.cpu_ms[connections]), 1.05)
    report.write()


def _ratio(case: Case, peer: Case, connections: int) -> float:
    """Return the median of the rounds' ratios; within a round both are measured directly one after the other."""
    return median(
        [mine / theirs for mine, theirs in zip(case.cpu_ms[connections], peer.cpu_ms[connections], strict=True)]
    )


if __name__ == "__main__":
    main()

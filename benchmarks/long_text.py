"""An hour of speech beside a single-core script that speaks the same chunks with the same settings."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from backends.hibari import HibariBackend
from backends.interface import BackendContext
from benchmarks import servers, texts
from benchmarks.direct import Direct, Order
from benchmarks.processes import cpu_s, family
from benchmarks.report import Report, median, progress
from gateway.engines.scale import cores
from gateway.speech.plan import make_plan
from gateway.speech.seeds import chunk_seed, occurrences

CHARACTERS = 20_000
ROUNDS = 3


def main(scale: float = 1.0) -> None:
    """Measure in turns; every round is a text of its own, so that nothing is cached."""
    report = Report("long_text", "Long text beside a single-core script on the same chunks, mp3 at 64 kbit/s")
    characters = max(3_000, round(CHARACTERS * scale))
    rows, cpu_ratios, speed_ratios = [], [], []
    with servers.gateway(VOXGATE_BACKENDS__HIBARI__MIN_WORKERS=cores()) as server, Direct() as direct:
        server.speak(texts.story(4_000, seed=99), delivery="url")  # every worker is loaded and has spoken
        for nth in range(ROUNDS):
            progress(f"round {nth + 1}, {characters} characters")
            text = texts.story(characters, seed=100 + nth)
            alone = direct.run(Order(_chunks(text), "mp3"))
            mine = _speak(server, text)
            rows.append((nth + 1, "script", *_cells(alone.wall_s, alone.cpu_s, alone.audio_s), "", ""))
            gateway_cpu, workers_cpu = mine["gateway"], mine["workers"]
            cpu = gateway_cpu + workers_cpu
            cpu_ratio = cpu / alone.cpu_s
            speed_ratio = alone.wall_s / mine["wall_s"]
            cells = _cells(mine["wall_s"], cpu, mine["audio_s"])
            rows.append((nth + 1, "voxgate", *cells, f"{cpu_ratio:.3f}", f"{speed_ratio:.2f}"))
            cpu_ratios.append(cpu_ratio)
            speed_ratios.append(speed_ratio)
    report.table(
        ("round", "", "wall s", "CPU s", "audio s", "CPU ms per s of audio", "CPU, of script's", "speed, of script's"),
        rows,
    )
    report.target("long text, CPU of the script's", median(cpu_ratios), 1.05)
    report.target("long text, speed of the script's", median(speed_ratios), 1.8, at_least=True)
    report.write()


def _speak(server: servers.Server, text: str) -> dict[str, float]:
    workers = [pid for pid in family(server.pid) if pid != server.pid]
    before = cpu_s(server.pid), sum(cpu_s(pid) for pid in workers)
    began = time.perf_counter()
    job = server.speak(text, format="mp3", delivery="url")
    wall_s = time.perf_counter() - began
    workers_after = [pid for pid in family(server.pid) if pid != server.pid]
    assert set(workers) == set(workers_after), "a worker came or went"
    return {
        "wall_s": wall_s,
        "audio_s": job["output"]["duration_ms"] / 1000,
        "gateway": cpu_s(server.pid) - before[0],
        "workers": sum(cpu_s(pid) for pid in workers) - before[1],
    }


def _chunks(text: str) -> tuple[tuple[str, int], ...]:
    """The very chunks and seeds the gateway will speak."""
    with tempfile.TemporaryDirectory() as folder:
        context = BackendContext(Path(folder))
        rule = HibariBackend(HibariBackend.Settings(), context).capabilities().chunk
    spoken = [speak.text for speak in make_plan(text, "en-US", rule).speaks]
    return tuple((chunk, chunk_seed(0, chunk, n, 0)) for chunk, n in zip(spoken, occurrences(spoken), strict=True))


def _cells(wall_s: float, cpu: float, audio_s: float) -> tuple[str, ...]:
    return f"{wall_s:.1f}", f"{cpu:.2f}", f"{audio_s:.0f}", f"{1000 * cpu / audio_s:.2f}"


if __name__ == "__main__":
    main()

"""Measures long text beside a single-core script that speaks the same chunks with the same settings, and beside two."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from backends.hibari import HibariBackend
from backends.interface import BackendContext
from benchmarks import servers, texts
from benchmarks.direct import Direct, Order, Outcome
from benchmarks.processes import cpu_s, family
from benchmarks.report import Report, median, progress
from gateway.engines.scale import cores
from gateway.speech.sound.finish import Finish, finish_take
from gateway.speech.sound.take import settle, to_flac
from gateway.speech.text.plan import make_plan
from gateway.speech.text.seeds import chunk_seed, occurrences

CHARACTERS = 20_000
ROUNDS = 3


def main(scale: float = 1.0) -> None:
    """Measure in turns; every round has a new text, so that nothing is cached."""
    report = Report("long_text", "Long text beside a single-core script on the same chunks, mp3 at 64 kbit/s")
    characters = max(3_000, round(CHARACTERS * scale))
    rows, cpu_ratios, speed_ratios, pairs = [], [], [], []
    hibari = {"VOXGATE_BACKENDS__HIBARI__MIN_WORKERS": cores()}
    with servers.gateway(**hibari) as server, Direct() as direct, Direct() as second:
        server.speak(texts.story(4_000, seed=99), delivery="url")  # every worker is loaded and has spoken
        for nth in range(ROUNDS):
            progress(f"round {nth + 1}, {characters} characters")
            text = texts.story(characters, seed=100 + nth)
            alone = direct.run(Order(_chunks(text), "mp3"))
            mine = _speak(server, text)
            pairs.append((alone, mine))
            rows.append((nth + 1, "script", *_cells(alone.wall_s, alone.cpu_s, alone.audio_s), "", ""))
            wall_s, halves = _side_by_side((direct, second), _chunks(text))
            their_cpu, audio_s = sum(half.cpu_s for half in halves), sum(half.audio_s for half in halves)
            ratios = f"{their_cpu / alone.cpu_s:.3f}", f"{alone.wall_s / wall_s:.2f}"
            rows.append((nth + 1, "two scripts, half each", *_cells(wall_s, their_cpu, audio_s), *ratios))
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
    report.table(
        ("stage", "CPU ms per s of audio", "share %"),
        _shares(pairs, _finishing(texts.story(3_000, seed=98))),
        "Engine and mp3 as the script spends them in the same rounds; checks, FLAC and trim alone; the rest is what is "
        "left of each process: the pipe, the event loop, HTTP, SQL, files, polls.",
    )
    report.target("long text, CPU of the script's", median(cpu_ratios), 1.05)
    report.target("long text, speed of the script's", median(speed_ratios), 1.8, at_least=True)
    report.write()


def _side_by_side(scripts: tuple[Direct, Direct], chunks: tuple[tuple[str, int], ...]) -> tuple[float, list[Outcome]]:
    """Run two scripts at the same time, each with every second chunk; returns seconds of wall time, and outcomes."""
    began = time.perf_counter()
    with ThreadPoolExecutor(len(scripts)) as pool:
        orders = [Order(chunks[nth :: len(scripts)], "mp3") for nth in range(len(scripts))]
        outcomes = list(pool.map(lambda script, order: script.run(order), scripts, orders))
    return time.perf_counter() - began, outcomes


def _finishing(text: str) -> dict[str, float]:
    """Return CPU ms per second of finished audio for each stage of a worker's work on a take."""
    from hibari import Hibari  # type: ignore[import-untyped]

    engine = Hibari(threads=1)
    spent: defaultdict[str, float] = defaultdict(float)
    samples = 0

    def timed(stage: str, do: Callable[[], Any]) -> Any:
        began = time.process_time()
        done = do()
        spent[stage] += 1000 * (time.process_time() - began)
        return done

    for chunk, seed in _chunks(text):
        pcm = engine(chunk, 1.0, seed=seed)
        settled = timed("check and round", lambda pcm=pcm: settle(pcm))
        timed("FLAC of the take", lambda settled=settled: to_flac(settled.pcm, 24_000))
        samples += timed("trim", lambda settled=settled: finish_take(settled.pcm, 24_000, Finish())).pcm.size
    return {stage: ms * 24_000 / samples for stage, ms in spent.items()}


def _shares(pairs: list[tuple[Outcome, dict[str, float]]], finishing: dict[str, float]) -> list[tuple[str, str, str]]:
    spoken_s = sum(mine["audio_s"] for _, mine in pairs)
    engine = 1000 * sum(alone.engine_cpu_s for alone, _ in pairs) / spoken_s
    # The script also encodes the silence around its takes, which the gateway trims.
    mp3 = 1000 * sum(alone.cpu_s - alone.engine_cpu_s for alone, _ in pairs) / sum(alone.audio_s for alone, _ in pairs)
    workers = 1000 * sum(mine["workers"] for _, mine in pairs) / spoken_s
    server = 1000 * sum(mine["gateway"] for _, mine in pairs) / spoken_s
    stages = {
        "engine": engine,
        **finishing,
        "rest of the workers": workers - engine - sum(finishing.values()),
        "mp3": mp3,
        "rest of the server": server - mp3,
    }
    return [(stage, f"{ms:.2f}", f"{100 * ms / (workers + server):.1f}") for stage, ms in stages.items()]


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
    """Return the same chunks and seeds that the gateway will speak."""
    with tempfile.TemporaryDirectory() as folder:
        context = BackendContext(Path(folder))
        rule = HibariBackend(HibariBackend.Settings(), context).capabilities().chunk
    spoken = [speak.text for speak in make_plan(text, "en-US", rule).speaks]
    return tuple((chunk, chunk_seed(0, chunk, n, 0)) for chunk, n in zip(spoken, occurrences(spoken), strict=True))


def _cells(wall_s: float, cpu: float, audio_s: float) -> tuple[str, ...]:
    return f"{wall_s:.1f}", f"{cpu:.2f}", f"{audio_s:.0f}", f"{1000 * cpu / audio_s:.2f}"


if __name__ == "__main__":
    main()

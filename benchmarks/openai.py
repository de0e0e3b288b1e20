"""Measures OpenAI's surface: first audio beside the engine's first take, a cached answer beside `/runsync`."""

from __future__ import annotations

import http.client
import io
import itertools
import json
import time
from pathlib import Path

import soundfile  # type: ignore[import-untyped]

from backends.hibari import HibariBackend
from backends.interface import BackendContext, NoSettings
from benchmarks import load, servers, texts
from benchmarks.direct import Direct
from benchmarks.hits import TEXT, Case
from benchmarks.report import Report, median, progress, quantile
from gateway.speech.text.plan import Speak, make_plan

CONNECTIONS = (1, 16)
TAKE_S = 0.3
FORMATS = ("mp3", "pcm", "wav", "opus")
PATH = "/v1/audio/speech"
WAV_HEAD = 44
LEAD = {"mp3": 1_105, "pcm": 0, "wav": 0, "opus": 0}
"""Samples that a decoder gives before the speech."""


def main(scale: float = 1.0) -> None:
    """Measure, in interleaved rounds."""
    report = Report("openai", "OpenAI's speech API: first audio beside the engine's first take, cached beside /runsync")
    count = max(5, round(30 * scale))
    _scripted(report, count)
    _hibari(report, count)
    _cached(report, scale)
    report.write()


def _scripted(report: Report, count: int) -> None:
    """Measure with an engine that takes exactly TAKE_S for a take."""
    source = texts.sentences(seed=7)
    with servers.gateway("scripted") as server:
        rows, ratios = [], {}
        for form in FORMATS:
            progress(f"{count} texts as {form}, a take of {TAKE_S} s")
            firsts = []
            for _ in range(count):
                text = "\n\n".join(itertools.islice(source, 3))
                firsts.append(first_audio_s(server, text, form, {"chunk_delay_s": TAKE_S}))
            ratios[form] = median(firsts) / TAKE_S
            rows.append((f"scripted, {form}", *_row(firsts, [TAKE_S] * count)))
    _tell(report, rows, "The engine waits 300 ms for every take; three paragraphs, one caller at a time.")
    for form, ratio in ratios.items():
        report.target(f"first audio, of a first take of 300 ms, {form}", ratio, 1.2)


def _hibari(report: Report, count: int) -> None:
    """Measure with the embedded voice; a script with the same engine speaks the first take alone."""
    source = texts.sentences(seed=8)
    capabilities = HibariBackend(NoSettings(), BackendContext(model_dir=Path())).capabilities()
    with servers.gateway(VOXGATE_BACKENDS__HIBARI__WORKERS=1) as server, Direct() as direct:
        firsts, takes = [], []
        progress(f"{count} texts by the embedded voice")
        for _ in range(count):
            text = "\n\n".join(itertools.islice(source, 3))
            plan = make_plan(text, capabilities.languages[0], capabilities.chunk, None)
            first = next(segment for segment in plan.segments if isinstance(segment, Speak))
            takes.append(direct.speak(first.text, 1, "wav").engine_s)
            firsts.append(first_audio_s(server, text, "mp3", {}))
    _tell(report, [("hibari, mp3", *_row(firsts, takes))], "The first take alone: a script that calls the same engine.")
    ratio = median([mine / theirs for mine, theirs in zip(firsts, takes, strict=True)])
    report.target("first audio, of the embedded voice's first take, mp3", ratio, 1.2)


def _cached(report: Report, scale: float) -> None:
    with servers.gateway(VOXGATE_BACKENDS__HIBARI__WORKERS=1) as server:
        asked = {"model": "tts-1", "input": TEXT, "voice": "alloy"}
        server.ask("POST", "/runsync", {"input": {"text": TEXT, "format": "mp3"}})
        body = json.dumps({"input": {"text": TEXT, "format": "mp3"}})
        cases = [
            Case("RunPod's /runsync", server, (load.Step("POST", "/runsync", body, '"cache_hit":true'),)),
            Case("OpenAI's /v1/audio/speech", server, (load.Step("POST", PATH, json.dumps(asked), "audio/mpeg"),)),
        ]
        for nth in range(max(3, round(7 * scale))):
            for connections in CONNECTIONS:
                progress(f"cached, round {nth + 1}, {connections} connections")
                for case in cases if nth % 2 else reversed(cases):
                    case.round(connections, max(0.4, scale))
    for connections in CONNECTIONS:
        rows = [
            (
                case.name,
                f"{median(case.cpu_ms[connections]):.3f}",
                round(median(case.per_s[connections])),
                f"{quantile(case.times_ms[connections], 0.5):.2f}",
                f"{quantile(case.times_ms[connections], 0.99):.2f}",
            )
            for case in cases
        ]
        report.table(
            ("cached", "CPU ms", "per s", "p50 ms", "p99 ms"), rows, f"From memory, {connections} connections."
        )
        ratio = median(
            [
                mine / theirs
                for mine, theirs in zip(cases[1].cpu_ms[connections], cases[0].cpu_ms[connections], strict=True)
            ]
        )
        report.target(f"cached answer, CPU of RunPod's surface's, at {connections} connections", ratio, 1.1)


def first_audio_s(server: servers.Server, text: str, form: str, options: dict[str, float]) -> float:
    """Return seconds from the request until the bytes received decode to a sample of speech; reads the rest, too."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.key}"}
    asked = {"model": "default", "voice": "default", "input": text, "response_format": form, "options": options}
    began = time.perf_counter()
    connection.request("POST", PATH, json.dumps(asked), headers)
    answer = connection.getresponse()
    took = None
    heard = b""
    while piece := answer.read1(1 << 16):
        came = time.perf_counter() - began
        heard += piece
        if took is None and _samples(form, heard) > LEAD[form]:
            took = came
    assert answer.status == 200 and took is not None, heard[:300]
    connection.close()
    return took


def _samples(form: str, heard: bytes) -> int:
    """Count the samples that decode from these bytes, which may end anywhere."""
    if form in ("pcm", "wav"):
        return (len(heard) - (WAV_HEAD if form == "wav" else 0)) // 2
    try:
        with soundfile.SoundFile(io.BytesIO(heard)) as file:
            return len(file.read(dtype="int16"))
    except soundfile.LibsndfileError:  # the head is not complete
        return 0


def _row(firsts: list[float], takes: list[float]) -> tuple[object, ...]:
    return (
        f"{1000 * median(takes):.0f}",
        f"{1000 * median(firsts):.0f}",
        f"{1000 * quantile(firsts, 0.99):.0f}",
        f"{median([mine / theirs for mine, theirs in zip(firsts, takes, strict=True)]):.2f}",
    )


def _tell(report: Report, rows: list[tuple[object, ...]], note: str) -> None:
    report.table(("", "first take ms", "first audio p50 ms", "first audio p99 ms", "of the take"), rows, note)


if __name__ == "__main__":
    main()

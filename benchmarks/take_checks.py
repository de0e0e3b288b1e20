"""Measures the cost of take checks beside the engine that spoke: the embedded voice, the cheapest engine."""

from __future__ import annotations

import itertools
import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in a worker

import hibari
import msgspec

from backends.interface import Take
from benchmarks import texts
from benchmarks.report import Report
from gateway.speech.sound.checks import Check
from gateway.speech.sound.finish import Finish, post

RATE = 24_000


def main(scale: float = 1.0) -> None:
    """Measure CPU time in this process, alternating checked and unchecked takes."""
    report = Report("take_checks", "Checks of a take beside the engine that spoke it, CPU seconds")
    voice = hibari.Hibari(threads=1)
    rows = []
    for name, joined in (("one sentence", 1), ("three sentences", 3)):
        said = texts.sentences(5)
        engine_s, post_s, audio_s = 0.0, [0.0, 0.0], 0.0
        count = max(20, round(100 * scale))
        for number in range(2 * count):
            text = " ".join(itertools.islice(said, joined))
            began = time.process_time()
            pcm = voice(text, seed=number)
            engine_s += time.process_time() - began
            audio_s += pcm.size / RATE
            finish = msgspec.json.encode(Finish(check=Check(text) if number % 2 else None))
            began = time.process_time()
            post(Take(1, pcm, RATE), finish, True)
            post_s[number % 2] += time.process_time() - began
        checks_s = post_s[1] - post_s[0]
        share, mean_s = checks_s / (engine_s / 2), audio_s / (2 * count)
        rows.append((name, 2 * count, mean_s, engine_s / 2 / count, checks_s / count * 1e6, f"{share:.2%}"))
        report.target(f"share of the embedded voice's CPU, takes of {name}", share, 0.01)
    report.table(("takes of", "takes", "seconds", "engine, CPU s each", "checks, CPU µs each", "share"), rows)
    report.write()


if __name__ == "__main__":
    main()

"""Measures Chatterbox's memory over a thousand chunks with fifty voices, and its cold start.

Needs Chatterbox: `.venv-chatterbox/bin/python -m benchmarks chatterbox_memory`. Uses tiny weights for the thousand
chunks, full-size ones for the cold start.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks import checkpoints, texts
from benchmarks.chatterbox_tokens import load
from benchmarks.processes import rss_mb
from benchmarks.report import Report, progress

CHUNKS = 1000
VOICES = 50
MARKS = 5


def main(scale: float = 1.0) -> None:
    """Measure."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    report = Report("chatterbox_memory", "Chatterbox: memory over many chunks and voices; cold start")
    with tempfile.TemporaryDirectory(prefix="voxgate-bench-") as folder:
        _many_chunks(report, Path(folder), max(100, round(CHUNKS * scale)))
    with tempfile.TemporaryDirectory(prefix="voxgate-bench-") as folder:
        _cold_start(report, Path(folder))
    report.write()


def _many_chunks(report: Report, folder: Path, count: int) -> None:
    import torch

    from backends.chatterbox import ChatterboxSettings
    from backends.chatterbox.engine import FastEngine
    from backends.chatterbox.models import MODELS
    from backends.interface import Material, Voice

    torch.set_num_threads(1)
    progress("making a checkpoint and the voices")
    model = load(checkpoints.make_english(folder / "model"), full=False)
    voices = []
    for nth in range(VOICES):
        recording = folder / f"{nth}.wav"
        checkpoints.write_recording(recording, seconds=4.0, hertz=90.0 + 3 * nth)
        material = Material(f"voice-{nth}", lambda _, path=recording: nullcontext(path))  # type: ignore[misc]
        voices.append(Voice(f"v{nth}", ("en",), f"voice-{nth}", material=material))
    engine = FastEngine(model, MODELS["english"], ChatterboxSettings())
    feed = _Counting(voices, count)
    marks: list[tuple[int, float]] = []
    began = time.perf_counter()
    for spoken, _ in enumerate(engine.synthesize(feed), 1):
        if spoken % (count // MARKS) == 0:
            progress(f"{spoken} chunks")
            marks.append((spoken, rss_mb(os.getpid())))
    engine.close()
    first = marks[0][1]
    report.table(
        ("chunks", "resident MB", "of the first mark's"),
        [(n, f"{mb:.0f}", f"{mb / first:.3f}") for n, mb in marks],
        f"{VOICES} voices in turn, each made of its recording once; {count / (time.perf_counter() - began):.1f}/s.",
    )
    report.target(f"memory after {marks[-1][0]} chunks, of that after {marks[0][0]}", marks[-1][1] / first, 1.05)


class _Counting:
    """A feed of `count` short chunks that uses the voices in turn."""

    def __init__(self, voices: list[Any], count: int) -> None:
        from backends.chatterbox import ChatterboxOptions
        from backends.interface import Chunk

        said = texts.sentences(11)
        self._chunks: Iterator[Any] = (
            Chunk(n, next(said), voices[n % len(voices)], "en", n, ChatterboxOptions()) for n in range(count)
        )

    def take(self, n: int, wait: bool) -> list[Any]:
        """See `Feed.take`."""
        return list(itertools.islice(self._chunks, n))

    def cancelled(self, chunk_id: int) -> bool:
        """See `Feed.cancelled`."""
        return False


_COLD = """
import sys, time
began = time.perf_counter()
def said(what):
    print(f"{what}\\t{time.perf_counter() - began:.2f}", flush=True)
from pathlib import Path
from backends.chatterbox import ChatterboxBackend, ChatterboxOptions, ChatterboxSettings
from backends.interface import BackendContext, Chunk
from backends.testing.feeds import KitFeed
backend = ChatterboxBackend(ChatterboxSettings(model_path=sys.argv[1]), BackendContext(Path("unused"), "cpu", 2))
(voice,) = backend.voices()
backend.revision()
seen = []
def progress(share, text):
    if text.partition(" ")[0] not in seen:
        seen.append(text.partition(" ")[0])
        said("until " + text)
backend.load(progress)
said("loaded")
feed = KitFeed([Chunk(0, "Hello there.", voice, "en", 1, ChatterboxOptions())], set())
next(iter(backend.synthesize(feed)))
said("first take")
"""


def _cold_start(report: Report, folder: Path) -> None:
    progress("making a full-size checkpoint")
    checkpoints.make_english(folder, eos_at=25, full=True)
    os.environ.setdefault("TQDM_DISABLE", "1")
    progress("cold start")
    command = [sys.executable, "-c", _COLD, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    rows = [tuple(line.split("\t")) for line in done.stdout.splitlines() if "\t" in line]
    report.table(
        ("from a new process, full-size weights on the local disk", "s"),
        rows,
        "The first take is one second of speech with a ten second reference. Files just written are in the system's "
        "cache; from a cold disk add the time it takes to read 3.2 GB.",
    )


if __name__ == "__main__":
    main()

"""Compares tempo change by ours, sox and FFmpeg's atempo: speed, exactness, closeness to the voice."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in a worker

import hibari
import numpy as np
import numpy.typing as npt
import soundfile

from benchmarks import texts
from benchmarks.report import Report, progress
from gateway.speech.sound.stretch import stretch
from gateway.speech.sound.trim import speech_span

RATE = 24_000
SPEEDS = (0.5, 0.75, 1.5, 2.0)
_FRAME, _HOP, _MELS = 1024, 240, 40
_HEARD_DB = 50.0
"""Frames this far below the loudest one are silence and are not compared."""

_SHIFTS = range(-480, 481, 120)
"""Samples; 20 ms either way."""

_COMPARED = 8
"""Sentences whose spectra are compared; this takes longer than all the rest."""

Levels = npt.NDArray[np.float64]
Pcm = npt.NDArray[np.float32]
Method = Callable[[Pcm, float], Pcm]


def main(scale: float = 1.0) -> None:
    """Measure wall time in this process; for sox including its own process, as in real use."""
    report = Report("stretch", "Change of tempo of the embedded voice: seconds of speech per second, length, distance")
    voice = hibari.Hibari(threads=1)
    said = itertools.islice(texts.sentences(7), max(5, round(20 * scale)))
    takes = [_trimmed(voice(text, seed=number)) for number, text in enumerate(said)]
    audio_s = sum(take.size for take in takes) / RATE
    methods, absent = _methods()
    rows = []
    for name, method in methods.items():
        progress(name)
        method(takes[0], 1.1)  # warm-up
        for speed in SPEEDS:
            began = time.perf_counter()
            changed = [method(take, speed) for take in takes]
            spent = time.perf_counter() - began
            pairs = list(zip(takes, changed, strict=True))
            off_ms = [(new.size - round(old.size / speed)) * 1000 / RATE for old, new in pairs]
            far_db = [_distance_db(old, new, speed) for old, new in pairs[:_COMPARED]]
            rows.append((name, speed, audio_s / spent, max(off_ms, key=abs), float(np.mean(far_db))))
    note = f"{len(takes)} sentences, {audio_s:.0f} s. Distance: of log mel spectra, each frame beside its source."
    report.table(
        ("method", "speed", "x real time", "furthest off in length, ms", "mel distance, dB"),
        rows,
        " ".join((note, *absent)),
    )
    report.write()


def _methods() -> tuple[dict[str, Method], list[str]]:
    """Return the installed methods, and a note on the missing ones."""
    methods: dict[str, Method] = {"voxgate, WSOLA": lambda pcm, speed: stretch(pcm, RATE, speed)[0]}
    absent = []
    if shutil.which("sox"):
        methods["sox tempo -s"] = _sox
    else:
        absent.append("sox is not installed (apt-get install sox).")
    if find_spec("av"):
        methods["FFmpeg atempo (PyAV)"] = _atempo
    else:
        absent.append("PyAV is not installed (the extra codecs).")
    return methods, absent


def _sox(pcm: Pcm, speed: float) -> Pcm:
    wav = io.BytesIO()
    soundfile.write(wav, pcm, RATE, format="WAV", subtype="FLOAT")
    command = ["sox", "-t", "wav", "-", "-t", "f32", "-", "tempo", "-s", f"{speed}"]
    done = subprocess.run(command, input=wav.getvalue(), capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.float32)


def _atempo(pcm: Pcm, speed: float) -> Pcm:
    import av
    from av.filter import Graph

    graph = Graph()
    source: Any = graph.add_abuffer(sample_rate=RATE, format="flt", layout="mono")
    tempo = graph.add("atempo", f"{speed}")
    sink = graph.add("abuffersink")
    source.link_to(tempo)
    tempo.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm).reshape(1, -1), format="flt", layout="mono")
    frame.sample_rate, frame.pts = RATE, 0
    graph.push(frame)
    graph.push(None)
    parts = []
    while True:
        try:
            parts.append(sink.pull().to_ndarray().reshape(-1))
        except (av.EOFError, av.BlockingIOError):
            return np.concatenate(parts)


def _trimmed(pcm: Pcm) -> Pcm:
    begin, end = speech_span(pcm, RATE)
    return pcm[begin:end]


def _distance_db(old: Pcm, new: Pcm, speed: float) -> float:
    """Return the root mean square over mel bands of the difference in level, averaged over frames with speech.

    Methods place their first window differently, which is not audible, so the best of several offsets counts.
    """
    centres = np.arange(0, new.size, _HOP)
    changed = _mel_db(new, centres)
    return min(_apart_db(old, changed, centres * speed + shift) for shift in _SHIFTS)


def _apart_db(old: Pcm, changed: Levels, at: npt.NDArray[np.float64]) -> float:
    source = _mel_db(old, np.clip(np.rint(at).astype(np.intp), 0, old.size - 1))
    level = source.max(axis=1)
    floor = level.max() - _HEARD_DB
    heard = level > floor
    apart = np.maximum(changed, floor)[heard] - np.maximum(source, floor)[heard]
    return float(np.sqrt(np.square(apart).mean(axis=1)).mean())


def _mel_db(pcm: Pcm, centres: npt.NDArray[np.intp]) -> Levels:
    padded = np.pad(pcm, _FRAME)
    frames = padded[centres[:, None] + _FRAME // 2 + np.arange(_FRAME)] * np.hanning(_FRAME)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1)))
    return np.asarray(10 * np.log10(power @ _mel_bands().T + 1e-9))


@cache
def _mel_bands() -> npt.NDArray[np.float64]:
    """Return triangles of equal width on the mel scale up to 8 kHz, shape (bands, bins)."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), _MELS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(_FRAME, 1 / RATE)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(rising, falling))


if __name__ == "__main__":
    main()

"""The peer of the whole gateway: a script that calls the engine on given chunks and encodes the result.

One process, one core, no queue, no storage: the simplest program for the task. Reads one `Order` per line as JSON from
standard input and answers each with an `Outcome`.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from types import TracebackType

import lameenc  # type: ignore[import-not-found]
import msgspec
import numpy as np
import soundfile  # type: ignore[import-untyped]

RATE = 24_000


class Order(msgspec.Struct, frozen=True):
    """Chunks with their seeds, to speak one after the other into one file (`mp3`: 64 kbit/s, quality 5)."""

    chunks: tuple[tuple[str, int], ...]
    format: str


class Outcome(msgspec.Struct, frozen=True):
    """Seconds of wall time and CPU for an order, of wall time and CPU for the engine alone; seconds of audio."""

    wall_s: float
    cpu_s: float
    engine_s: float
    engine_cpu_s: float
    audio_s: float
    size_bytes: int


class Direct:
    """Runs the script as a child process; ready once constructed."""

    def __enter__(self) -> Direct:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.direct"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.speak("Ready.", 1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(30)

    def speak(self, text: str, seed: int, format: str = "mp3") -> Outcome:  # noqa: A002
        """Speak one chunk."""
        return self.run(Order(((text, seed),), format))

    def run(self, order: Order) -> Outcome:
        """Speak an order."""
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(msgspec.json.encode(order) + b"\n")
        self._child.stdin.flush()
        return msgspec.json.decode(self._child.stdout.readline(), type=Outcome)


def _main() -> None:
    from hibari import Hibari  # type: ignore[import-untyped]

    engine = Hibari(threads=1)
    engine("Ready.", seed=0)
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        sys.stdout.buffer.write(msgspec.json.encode(_speak(engine, order)) + b"\n")
        sys.stdout.buffer.flush()


def _speak(engine: object, order: Order) -> Outcome:
    wall, cpu = time.perf_counter(), time.process_time()
    engine_s = engine_cpu_s = 0.0
    samples = size = 0
    encoder = _Mp3() if order.format == "mp3" else _Wav()
    for text, seed in order.chunks:
        began, began_cpu = time.perf_counter(), time.process_time()
        pcm = engine(text, 1.0, seed=seed)  # type: ignore[operator]
        engine_s += time.perf_counter() - began
        engine_cpu_s += time.process_time() - began_cpu
        samples += pcm.size
        encoder.write((np.clip(pcm, -1.0, 1.0) * 32767).astype("<i2"))
    size = encoder.finish()
    return Outcome(time.perf_counter() - wall, time.process_time() - cpu, engine_s, engine_cpu_s, samples / RATE, size)


class _Mp3:
    def __init__(self) -> None:
        self._lame = lameenc.Encoder()
        self._lame.silence()
        self._lame.set_channels(1)
        self._lame.set_in_sample_rate(RATE)
        self._lame.set_out_sample_rate(RATE)
        self._lame.set_bit_rate(64)
        self._lame.set_quality(5)
        self._out = io.BytesIO()

    def write(self, pcm: np.ndarray) -> None:
        self._out.write(self._lame.encode(pcm.tobytes()))

    def finish(self) -> int:
        self._out.write(self._lame.flush())
        return self._out.tell()


class _Wav:
    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._file = soundfile.SoundFile(self._out, "w", RATE, 1, "PCM_16", format="WAV")

    def write(self, pcm: np.ndarray) -> None:
        self._file.write(pcm)

    def finish(self) -> int:
        self._file.close()
        return self._out.tell()


if __name__ == "__main__":
    _main()

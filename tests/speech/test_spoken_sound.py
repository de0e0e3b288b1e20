"""The embedded voice, spoken, finished, encoded, decoded and measured."""

from __future__ import annotations

from pathlib import Path

import hibari
import msgspec
import numpy as np
import pytest
import soundfile as sf

from backends.interface import ChunkRule, Limit, Take
from gateway.speech.encode import open_encoder
from gateway.speech.encode.render import Rendered, Renderer
from gateway.speech.sound.finish import Finish, post
from gateway.speech.sound.loudness import LevelMeter, gain_for
from gateway.speech.text.plan import Pause, make_plan
from gateway.speech.text.seeds import chunk_seed

TEXT = (
    "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background.\n\n"
    "It is easy to tell the depth of a well; these days, a chicken leg is a rare dish."
)
RULE = ChunkRule(40, 40, Limit(280))
RATE = 24000


@pytest.fixture(scope="module")
def voice():
    return hibari.Hibari(threads=1)


def speak(
    voice, path: Path, name: str, speed: float = 1.0, gain: float = 1.0
) -> tuple[Rendered, np.ndarray, np.ndarray]:
    """Rendered, the samples that went into the encoder, the samples that come out of the file."""
    plan = make_plan(TEXT, "en", RULE)
    outs = []
    for kind, file in (("wav", path.with_suffix(".ref.wav")), (name, path)):
        renderer = Renderer(plan, open_encoder(kind, file, RATE), speed=speed, gain=gain)
        for chunk in plan.speaks:
            pcm = voice(chunk.text, seed=chunk_seed(0, chunk.text, 0) % 2**32)
            done = post(Take(1, pcm, RATE), msgspec.json.encode(Finish(speed=speed)), True)
            renderer.add(np.frombuffer(done.pcm, "<i2"))
        rendered = renderer.finish()
        outs.append(sf.read(str(file), dtype="float32")[0])
    return rendered, outs[0], outs[1]


def silences_ms(pcm: np.ndarray) -> list[int]:
    """Stretches of at least 250 ms below -60 dBFS in 10 ms frames."""
    frames = pcm[: pcm.size // 240 * 240].reshape(-1, 240)
    quiet = np.sqrt(np.mean(frames**2, axis=1)) < 1e-3
    edges = np.flatnonzero(np.diff(np.concatenate(([0], quiet.astype(int), [0]))))
    return [int(10 * (end - start)) for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start >= 25]


@pytest.mark.parametrize("name", ["mp3", "opus", "flac", "wav"])
def test_a_spoken_file_is_the_joined_speech_with_no_lag(voice, name: str, tmp_path: Path):
    rendered, went_in, came_out = speak(voice, tmp_path / f"a.{name}", name)
    assert came_out.size == went_in.size == rendered.samples
    size = 1 << (2 * went_in.size).bit_length()
    cross = np.fft.irfft(np.fft.rfft(came_out, size) * np.conj(np.fft.rfft(went_in, size)), size)
    assert int(cross.argmax()) == 0
    level = 20 * np.log10(np.std(came_out) / np.std(went_in))
    assert abs(level) < 0.5
    if name in ("flac", "wav"):
        assert np.array_equal(came_out, went_in)


@pytest.mark.parametrize("speed", [1.0, 1.5, 0.75])
def test_the_gaps_between_chunks_are_the_plans_pauses_and_the_kept_edges(voice, speed: float, tmp_path: Path):
    rendered, went_in, _ = speak(voice, tmp_path / "a.wav", "wav", speed)
    plan = make_plan(TEXT, "en", RULE)
    pauses = [segment.ms for segment in plan.segments if isinstance(segment, Pause)]
    assert pauses == [300, 600]
    for before, after, pause in zip(rendered.chunks, rendered.chunks[1:], pauses, strict=False):
        assert after.start_ms - before.end_ms == pytest.approx(pause / speed, abs=2)
        around = went_in[(before.end_ms - 150) * 24 : (after.start_ms + 150) * 24]
        heard = max(silences_ms(around))
        # 20 ms are kept before speech and 60 ms after it; part of those is soft speech.
        assert pause / speed - 10 <= heard <= (pause + 80) / speed + 30


def test_speed_divides_the_duration(voice, tmp_path: Path):
    normal = speak(voice, tmp_path / "a.wav", "wav")[0].samples
    for speed in (0.5, 2.0):
        assert speak(voice, tmp_path / "b.wav", "wav", speed)[0].samples == pytest.approx(normal / speed, abs=10)


def test_a_gain_brings_the_speech_to_its_level(voice, tmp_path: Path):
    _, went_in, _ = speak(voice, tmp_path / "a.wav", "wav")
    meter = LevelMeter(RATE)
    meter.add(np.round(went_in * 32768).astype(np.int16))
    assert -32 < meter.level() < -18
    _, louder, _ = speak(voice, tmp_path / "b.wav", "wav", gain=gain_for(meter.level(), -20, meter.peak))
    again = LevelMeter(RATE)
    again.add(np.round(louder * 32768).astype(np.int16))
    assert again.level() == pytest.approx(-20, abs=0.1)
    assert again.peak <= 0.9

"""Live encoders send the same audio as a finished file would hold, as far as a stream allows."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf

from gateway.errors import InvalidInput
from gateway.speech.decode import decode_request
from gateway.speech.encode import aac, live, open_encoder
from gateway.speech.encode.aac import read_aac
from gateway.speech.encode.live import LIVE, MAY_ADD_MS, open_live

RATE = 24_000
FRAMED = ("mp3", "aac")


def speech(samples: int) -> np.ndarray:
    t = np.arange(samples) / RATE
    fade = np.clip((samples - np.arange(samples)) / (0.1 * RATE) - 0.3, 0, 1)  # 30 ms of silence at the end
    return (9000 * fade * np.sin(2 * np.pi * (200 + 300 * t) * t)).astype(np.int16)


def streamed(name: str, pcm: np.ndarray, step: int = 5003, rate: int = RATE) -> list[bytes]:
    encoder = open_live(name, rate)
    pieces = [encoder.encode(pcm[at : at + step]) for at in range(0, pcm.size, step)]
    return [*pieces, encoder.finish()]


def decoded(name: str, data: bytes, wanted: int = RATE) -> np.ndarray:
    if name == "pcm":
        return np.frombuffer(data, "<i2")
    if name == "wav":
        return np.frombuffer(data[44:], "<i2")
    if name in ("aac", "flac"):  # python-soundfile wants to know how long a FLAC is before it reads it
        av = pytest.importorskip("av")
        with av.open(io.BytesIO(data)) as container:
            joined = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])
        return joined if joined.dtype == np.int16 else (joined * 32767).astype(np.int16)
    pcm, rate = sf.read(io.BytesIO(data), dtype="int16")
    assert rate == wanted
    return pcm


@pytest.mark.parametrize("name", LIVE)
@pytest.mark.parametrize("samples", [1, 577, 1025, 24_000, 123_457])
def test_a_stream_decodes_to_what_went_in(name: str, samples: int) -> None:
    if name == "aac":
        pytest.importorskip("av")
    pcm = speech(samples)
    found = decoded(name, b"".join(streamed(name, pcm)))
    adds = MAY_ADD_MS if name in FRAMED else 0
    assert found.size >= samples
    assert found.size - samples <= adds * RATE // 1000 or (adds and samples < 1_024)
    if name in ("pcm", "wav", "flac"):
        assert np.array_equal(found, pcm)


ADDED_MS = {
    ("mp3", 24_000): (60, 72), ("mp3", 16_000): (72, 108), ("mp3", 22_050): (60, 79), ("mp3", 48_000): (48, 48),
    ("aac", 24_000): (60, 86), ("aac", 16_000): (64, 128), ("aac", 22_050): (60, 93), ("aac", 48_000): (43, 43),
}  # fmt: skip
"""At most so much is added to what ends in silence, and to what ends loudly."""


@pytest.mark.parametrize(("name", "rate"), ADDED_MS)
def test_a_stream_of_frames_adds_as_much_as_is_documented_and_loses_nothing(name: str, rate: int) -> None:
    if name == "aac":
        pytest.importorskip("av")
    frame = open_live(name, rate).frame
    tone = (9000 * np.sin(2 * np.pi * 440 * np.arange(16 * frame) / rate)).astype(np.int16)
    most = {True: 0.0, False: 0.0}
    for begun in (0, 1, frame // 4, frame // 2, frame - 1):
        for quiet in (True, False):
            pcm = tone[: 12 * frame + begun].copy()
            pcm[pcm.size - rate // 10 :] //= 100 if quiet else 1
            found = decoded(name, b"".join(streamed(name, pcm, rate=rate)), rate)
            most[quiet] = max(most[quiet], 1000 * (found.size - pcm.size) / rate)
            assert found.size >= pcm.size
            if not quiet:  # of a lag of 1,105 or 1,024 samples, the last spoken ones stand at the end
                lag = 1_105 if name == "mp3" else 1_024
                last = found[lag : lag + pcm.size][-frame // 2 :].astype(float)
                assert np.corrcoef(last, pcm[-frame // 2 :])[0, 1] > 0.95
    at_most = ADDED_MS[name, rate]
    assert most[True] <= at_most[0]
    assert math.ceil(most[False]) == at_most[1]


def test_what_is_added_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "coming-from-openai.md").read_text(encoding="utf-8")
    for rate in (16_000, 22_050, 24_000):
        figures = [f"{quiet} / {loud}" for name in FRAMED for quiet, loud in [ADDED_MS[name, rate]]]
        assert f"| {rate / 1000:g} kHz | {' | '.join(figures)} |" in page


def test_opus_goes_out_a_tenth_of_a_second_at_a_time() -> None:
    encoder = open_live("opus", RATE)
    sent, pcm = b"", speech(2 * RATE)
    for at in range(0, pcm.size, RATE // 10):
        sent += encoder.encode(pcm[at : at + RATE // 10])
        page = sent[sent.rindex(b"OggS") :]
        (reached,) = struct.unpack("<q", page[6:14])  # in samples of 48 kHz
        assert 2 * min(at + RATE // 10, pcm.size) - reached <= 48_000 * 0.2


def test_without_soundfiles_private_names_opus_goes_out_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = decoded("opus", b"".join(streamed("opus", speech(RATE))))
    monkeypatch.setattr(live, "sf", SimpleNamespace(SoundFile=sf.SoundFile))
    found = decoded("opus", b"".join(streamed("opus", speech(RATE))))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", LIVE)
def test_bytes_come_while_samples_go_in(name: str) -> None:
    if name == "aac":
        pytest.importorskip("av")
    pieces = streamed(name, speech(5 * RATE), RATE // 2)
    assert all(b"".join(pieces[: 2 * second]) for second in range(1, 5))
    assert sum(map(bool, pieces)) >= 5


def test_a_wav_stream_does_not_say_how_long_it_is() -> None:
    data = b"".join(streamed("wav", speech(100)))
    riff, size, wave, _, _, kind, channels, rate, per_s, align, bits = struct.unpack("<4sI4s4sIHHIIHH", data[:36])
    assert (riff, size, wave, kind, channels, rate) == (b"RIFF", 0xFFFFFFFF, b"WAVE", 1, 1, RATE)
    assert (per_s, align, bits) == (2 * RATE, 2, 16)
    assert struct.unpack("<4sI", data[36:44]) == (b"data", 0xFFFFFFFF)
    assert sf.info(io.BytesIO(data)).samplerate == RATE


@pytest.mark.parametrize("name", [name for name in LIVE if name != "aac"])
def test_a_stream_of_nothing_ends_in_peace(name: str) -> None:
    open_live(name, RATE).finish()


@pytest.mark.parametrize(("name", "rate"), [("mp3", 8000), ("opus", 22050)])
def test_a_rate_the_format_cannot_have_is_refused(name: str, rate: int) -> None:
    with pytest.raises(InvalidInput, match="needs a sample rate"):
        open_live(name, rate)


def test_a_finished_aac_file_is_cut_where_its_samples_were(tmp_path: Path) -> None:
    pytest.importorskip("av")
    pcm = speech(3 * RATE)
    encoder = open_encoder("aac", tmp_path / "a.aac", RATE, 128)
    for at in range(0, pcm.size, 7001):
        encoder.write(pcm[at : at + 7001])
    encoded = encoder.finish()
    assert (encoded.samples, encoded.mimetype) == (pcm.size, "audio/aac")
    part = read_aac(encoded.path, 20_000, 50_000)
    assert part.size == 30_000
    error = part.astype(float) - pcm[20_000:50_000]
    assert np.sqrt(np.mean(error**2)) < 900  # a lag of one sample would be 1,000 and more
    assert read_aac(encoded.path, 70_000, None).size >= 2_000


def test_without_the_extra_aac_is_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aac, "_AV", None)
    with pytest.raises(InvalidInput, match=r"format aac needs PyAV.*pip install 'voxgate\[codecs\]', then restart"):
        decode_request(b'{"text": "hello", "format": "aac"}')
    with pytest.raises(InvalidInput, match="PyAV"):
        open_live("aac", RATE)

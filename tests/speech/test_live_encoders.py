"""What is sent while it is being spoken is what the file would have been, as far as a stream can be."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from gateway.errors import InvalidInput
from gateway.speech.decode import decode_request
from gateway.speech.encode import aac, open_encoder
from gateway.speech.encode.aac import read_aac
from gateway.speech.encode.live import LIVE, MAY_ADD_MS, open_live

RATE = 24_000
FRAMED = ("mp3", "aac")


def speech(samples: int) -> np.ndarray:
    t = np.arange(samples) / RATE
    fade = np.clip((samples - np.arange(samples)) / (0.1 * RATE) - 0.3, 0, 1)  # 30 ms of silence at the end
    return (9000 * fade * np.sin(2 * np.pi * (200 + 300 * t) * t)).astype(np.int16)


def streamed(name: str, pcm: np.ndarray, step: int = 5003) -> list[bytes]:
    encoder = open_live(name, RATE)
    pieces = [encoder.encode(pcm[at : at + step]) for at in range(0, pcm.size, step)]
    return [*pieces, encoder.finish()]


def decoded(name: str, data: bytes) -> np.ndarray:
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
    assert rate == RATE
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


@pytest.mark.parametrize("name", FRAMED)
def test_a_stream_that_ends_loudly_is_not_cut(name: str) -> None:
    if name == "aac":
        pytest.importorskip("av")
    pcm = np.tile(speech(RATE)[:12_000], 2)[: 2 * 9216 + 90]
    found = decoded(name, b"".join(streamed(name, pcm)))
    assert found.size - pcm.size > 1_440
    assert np.abs(found[-1_440:]).max() > 3_000


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
    with pytest.raises(InvalidInput, match=r"format aac needs PyAV.*pip install 'voxgate\[codecs\]'"):
        decode_request(b'{"text": "hello", "format": "aac"}')
    with pytest.raises(InvalidInput, match="PyAV"):
        open_live("aac", RATE)

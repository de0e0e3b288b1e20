from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from gateway.errors import InvalidInput
from gateway.speech.sound.reference import RATE, prepare_reference


def speechlike(seconds: float, rate: int, level: float = 0.2) -> np.ndarray:
    t = np.arange(int(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * 180 * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))).astype(np.float32)


@pytest.mark.parametrize(
    ("form", "subtype", "rate"),
    [
        ("WAV", "PCM_16", 44_100),
        ("FLAC", "PCM_16", 48_000),
        ("OGG", "VORBIS", 22_050),
        ("MP3", "MPEG_LAYER_III", 44_100),
    ],
)
def test_recordings_of_every_kind_become_mono_wav_at_24_khz(tmp_path: Path, form: str, subtype: str, rate: int) -> None:
    voice = speechlike(4.0, rate)
    silence = np.zeros(rate, np.float32)
    stereo = np.stack([np.concatenate([silence, voice, silence])] * 2, axis=1)
    source, target = tmp_path / "in", tmp_path / "out.wav"
    soundfile.write(source, stereo, rate, format=form, subtype=subtype)
    reference = prepare_reference(source, target)
    pcm, to = soundfile.read(target)
    assert (to, pcm.ndim) == (RATE, 1)
    assert 3.9 < reference.duration_s < 4.3  # the silence around it is gone
    assert abs(len(pcm) / RATE - reference.duration_s) < 0.01
    loudest = np.argmax(np.abs(np.fft.rfft(pcm))) * RATE / len(pcm)
    assert abs(loudest - 180) < 5


def refusal(tmp_path: Path, data: np.ndarray | bytes, rate: int = 24_000) -> str:
    source = tmp_path / "in"
    if isinstance(data, bytes):
        source.write_bytes(data)
    else:
        soundfile.write(source, data, rate, format="WAV")
    with pytest.raises(InvalidInput) as caught:
        prepare_reference(source, tmp_path / "out.wav")
    return str(caught.value)


def test_recordings_that_cannot_be_used_are_refused_with_the_reason(tmp_path: Path) -> None:
    assert "cannot be decoded" in refusal(tmp_path, b"RIFF\x00\x00 this is no audio")
    assert "cannot be decoded" in refusal(tmp_path, b"")
    assert "lasts 1.0 s" in refusal(tmp_path, speechlike(1, 24_000))
    assert "lasts 61 s" in refusal(tmp_path, speechlike(61, 24_000))
    assert "silent" in refusal(tmp_path, np.zeros(5 * 24_000, np.float32))
    assert "too soft" in refusal(tmp_path, speechlike(5, 24_000, level=0.002))
    few = np.concatenate([np.zeros(5 * 24_000, np.float32), speechlike(1, 24_000)])
    assert "s of speech once the silence around it is cut" in refusal(tmp_path, few)


def test_a_small_file_of_ten_hours_is_refused_by_its_header(tmp_path: Path) -> None:
    source = tmp_path / "in"
    with soundfile.SoundFile(source, "w", 8_000, 1, format="FLAC") as file:
        block = np.zeros(8_000 * 600, np.int16)
        for _ in range(60):
            file.write(block)
    assert source.stat().st_size < 10_000_000
    with pytest.raises(InvalidInput, match="lasts 36000 s"):
        prepare_reference(source, tmp_path / "out.wav")


def without_length(form: str) -> bytes:
    """A recording of four seconds as an encoder writes it into a pipe: its header does not know how long it is."""
    file = io.BytesIO()
    soundfile.write(file, speechlike(4, 24_000), 24_000, format=form)
    data = bytearray(file.getvalue())
    if form == "FLAC":  # STREAMINFO: the last 36 bits before the checksum
        data[21] &= 0xF0
        data[22:26] = bytes(4)
    else:
        at = data.index(b"data") + 4
        data[4:8] = data[at : at + 4] = bytes(4)
    return bytes(data)


@pytest.mark.parametrize("form", ["FLAC", "WAV"])
def test_a_recording_whose_header_does_not_know_its_length_is_read_to_its_end(tmp_path: Path, form: str) -> None:
    (tmp_path / "in").write_bytes(without_length(form))
    assert prepare_reference(tmp_path / "in", tmp_path / "out.wav").duration_s == pytest.approx(4.0, abs=0.1)


def test_a_recording_of_unknown_length_that_is_too_long_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, speechlike(61, 8_000), 8_000, format="FLAC")
    data = bytearray(file.getvalue())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert "lasts more than 60 s" in refusal(tmp_path, bytes(data))


@pytest.mark.parametrize("scale", [1.5, 3e4, 1e19, 3.4e38])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_recording_of_samples_above_full_scale_is_lowered_and_says_so(
    tmp_path: Path, scale: float, channels: int
) -> None:
    voice = speechlike(4, 24_000, level=1.0).astype(np.float64)
    voice *= scale / np.abs(voice).max()
    source, target = tmp_path / "in", tmp_path / "out.wav"
    soundfile.write(source, np.stack([voice] * channels, axis=1), 24_000, format="WAV", subtype="FLOAT")
    reference = prepare_reference(source, target)
    assert any("above full scale" in warning for warning in reference.warnings)
    pcm, _ = soundfile.read(target)
    expected = voice / scale
    middle = slice(1_000, 90_000)
    assert np.max(np.abs(pcm[middle] - expected[middle])) < 1e-3


def test_a_damaged_recording_is_refused_or_read_never_a_crash(tmp_path: Path) -> None:
    good = tmp_path / "good"
    soundfile.write(good, speechlike(4, 24_000), 24_000, format="FLAC")
    data = bytearray(good.read_bytes())
    for place in range(100, len(data), 997):
        data[place] ^= 0xFF
    source = tmp_path / "in"
    source.write_bytes(bytes(data))
    try:
        prepare_reference(source, tmp_path / "out.wav")
    except InvalidInput as error:
        assert str(error)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_a_recording_at_any_rate_keeps_its_tones_and_length_and_gets_no_new_ones(tmp_path: Path, rate: int) -> None:
    source, target = tmp_path / "in", tmp_path / "out.wav"
    t = np.arange(9 * rate) / rate
    tones = [900.0] + [hertz for hertz in (3_000.0, 7_000.0, 10_000.0, 12_600.0, 20_000.0) if hertz < 0.45 * rate]
    soundfile.write(source, sum(0.1 * np.sin(2 * np.pi * hertz * t) for hertz in tones), rate, "PCM_24", format="WAV")
    prepare_reference(source, target)
    pcm, _ = soundfile.read(target)
    assert abs(len(pcm) - 9 * RATE) <= 1
    middle = pcm[RATE : 7 * RATE]
    levels = 2 * np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) / np.hanning(len(middle)).sum()
    kept = [round(hertz * len(middle) / RATE) for hertz in tones if hertz < 0.45 * RATE]
    assert np.allclose(levels[kept], 0.1, rtol=2e-3)
    for at in kept:
        levels[at - 4 : at + 5] = 0
    assert levels.max() < 0.1 * 10 ** (-80 / 20)  # tones above half the rate are gone, and not folded below it

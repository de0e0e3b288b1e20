"""Every format gives back exactly the samples that went in, where they were."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from gateway.errors import InvalidInput, SynthesisFailed
from gateway.speech.encode import BITRATES, ENCODERS, check_size, encoder_identity, open_encoder

LENGTHS = (1, 100, 575, 576, 577, 1151, 1152, 1153, 24000, 123_457)


def sweep(size: int, rate: int) -> np.ndarray:
    """Noise bursts over a glide: its lag can be told to the sample."""
    t = np.arange(size) / rate
    glide = 0.3 * np.sin(2 * np.pi * (200 + 400 * t) * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t))
    noise = np.convolve(np.random.default_rng(5).normal(0, 0.05, size), np.ones(8) / 8, "same")[:size]
    return ((glide + noise * (np.sin(2 * np.pi * 2 * t) > 0)) * 32767).astype(np.int16)


def encode(path: Path, name: str, pcm: np.ndarray, rate: int, bitrate: int | None = None, step: int = 7777):
    encoder = open_encoder(name, path, rate, bitrate)
    for start in range(0, pcm.size, step):
        encoder.write(pcm[start : start + step])
    return encoder.finish()


def decode(path: Path, name: str, rate: int) -> np.ndarray:
    if name == "pcm":
        return np.frombuffer(path.read_bytes(), "<i2").astype(np.float32) / 32768
    pcm, found = sf.read(str(path), dtype="float32")
    assert found == rate
    return pcm


def lag(decoded: np.ndarray, original: np.ndarray) -> int:
    size = 1 << (2 * original.size).bit_length()
    product = np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(original.astype(np.float64), size))
    best = int(np.fft.irfft(product, size).argmax())
    return best - size if best > size // 2 else best


CASES = [
    *(("mp3", rate, None) for rate in (16000, 22050, 24000, 32000, 44100, 48000)),
    *(("mp3", 24000, bitrate) for bitrate in BITRATES["mp3"]),
    ("mp3", 44100, 160), ("mp3", 48000, 32), ("wav", 24000, None), ("pcm", 24000, None), ("flac", 22050, None),
    *(("opus", 24000, bitrate) for bitrate in (None, *BITRATES["opus"])),
    ("opus", 48000, None), ("opus", 16000, None),
]  # fmt: skip


@pytest.mark.parametrize(("name", "rate", "bitrate"), CASES)
def test_a_file_decodes_to_its_sample_count_with_no_lag(name: str, rate: int, bitrate: int | None, tmp_path: Path):
    for size in LENGTHS:
        pcm = sweep(size, rate)
        encoded = encode(tmp_path / f"a.{name}", name, pcm, rate, bitrate)
        decoded = decode(encoded.path, name, rate)
        assert decoded.size == size == encoded.samples
        assert encoded.size_bytes == encoded.path.stat().st_size
        if size > 100_000:
            assert lag(decoded, pcm) == 0


@pytest.mark.parametrize("name", ["wav", "pcm", "flac"])
def test_lossless_formats_lose_nothing(name: str, tmp_path: Path):
    pcm = np.random.default_rng(6).integers(-32768, 32768, 50_001, dtype=np.int16)
    encoded = encode(tmp_path / "a", name, pcm, 24000)
    assert np.array_equal(np.round(decode(encoded.path, name, 24000) * 32768).astype(np.int16), pcm)


@pytest.mark.parametrize("name", ["mp3", "wav", "pcm", "flac"])
def test_the_size_of_the_pieces_does_not_change_the_bytes(name: str, tmp_path: Path):
    pcm = sweep(50_000, 24000)
    files = [
        encode(tmp_path / str(step), name, pcm, 24000, step=step).path.read_bytes() for step in (50_000, 777, 1200)
    ]
    assert files[0] == files[1] == files[2]


def test_an_mp3_of_constant_bitrate_says_its_length_in_front(tmp_path: Path):
    data = encode(tmp_path / "a.mp3", "mp3", sweep(240_000, 24000), 24000).path.read_bytes()
    assert data[13:17] == b"Info"
    frames, size = (int.from_bytes(data[at : at + 4]) for at in (21, 25))
    assert size == len(data)
    assert (frames + 1) * 192 == len(data)
    assert all(data[at] == 0xFF and data[at + 1] >= 0xE0 for at in range(0, len(data), 192))


def test_what_a_format_cannot_hold_is_refused_with_a_way_out(tmp_path: Path):
    with pytest.raises(InvalidInput, match=r"bitrate of mp3 must be one of 32, .* got 63"):
        open_encoder("mp3", tmp_path / "a", 24000, 63)
    with pytest.raises(InvalidInput, match="use wav or flac"):
        open_encoder("mp3", tmp_path / "a", 8000)
    with pytest.raises(InvalidInput, match="use mp3, wav or flac"):
        open_encoder("opus", tmp_path / "a", 22050)
    check_size("wav", 2**31 - 100)
    for name in ("mp3", "flac", "opus", "pcm"):
        check_size(name, 2**40)
    with pytest.raises(InvalidInput, match=r"too long for wav.*use mp3"):
        check_size("wav", 2**31)


@pytest.mark.parametrize("name", list(ENCODERS))
def test_a_file_without_sound_is_never_an_answer(name: str, tmp_path: Path):
    with pytest.raises(SynthesisFailed, match="nothing was spoken"):
        open_encoder(name, tmp_path / "a", 24000).finish()


@pytest.mark.parametrize("name", list(ENCODERS))
def test_an_abandoned_file_is_closed_and_closing_twice_is_harmless(name: str, tmp_path: Path):
    encoder = open_encoder(name, tmp_path / "a", 24000)
    encoder.write(sweep(1000, 24000))
    encoder.abandon()
    encoder.abandon()


def test_encoders_tell_their_settings_apart():
    identities = [encoder_identity(name) for name in ENCODERS]
    assert all(a != b for a, b in itertools.combinations(identities, 2))


@pytest.mark.parametrize("name", list(ENCODERS))
def test_a_full_disk_is_an_os_error_and_abandoning_is_still_harmless(name: str, tiny_disk: Path):
    noise = np.random.default_rng(7).integers(-20000, 20000, 240_000, dtype=np.int16)
    path = tiny_disk / "a"
    encoder = open_encoder(name, path, 24000)
    with pytest.raises(OSError, match="No space left"):
        for _ in range(4):
            encoder.write(noise)
        encoder.finish()
    encoder.abandon()
    path.unlink()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("a disk of 64 KB can only be made by root")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)

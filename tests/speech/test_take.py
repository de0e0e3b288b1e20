"""Takes from an engine are checked, and rounded once."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from gateway.speech.sound.take import TakeRejected, check_take, packed, read_take, to_flac, to_wav


def tone(seconds: float = 0.5, rate: int = 24000, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("shape", [(-1,), (1, -1), (-1, 1)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_any_width_are_rounded_to_sixteen_bits(shape: tuple[int, ...], dtype: type):
    checked = check_take(tone().astype(dtype).reshape(shape))
    assert checked.pcm.dtype == np.int16
    assert checked.pcm.shape == (12000,)
    assert np.abs(checked.pcm / 32767 - tone()).max() < (1e-3 if dtype == np.float16 else 1e-4)
    assert checked.gain_db == 0.0
    assert np.array_equal(checked.wide, checked.pcm)


def test_sixteen_bits_pass_unchanged():
    pcm = (tone() * 32767).astype(np.int16)
    assert np.array_equal(check_take(pcm).pcm, pcm)


def test_a_peak_above_full_scale_costs_one_recorded_gain_and_no_clipping():
    checked = check_take(tone(level=2.0))
    assert checked.gain_db == pytest.approx(-6.02, abs=0.01)
    assert checked.pcm.max() == 32767
    assert np.abs(checked.pcm / 32767 - tone(level=1.0)).max() < 1e-4


@pytest.mark.parametrize(
    ("pcm", "reason", "kind", "retryable"),
    [
        (np.zeros(0, np.float32), "empty", "unsupported_text", False),
        (np.zeros(24000, np.float32), "silent", "failed", True),
        (np.full(24000, 1e-4, np.float32), "silent", "failed", True),
        (np.array([0.1, np.nan, 0.1], np.float32), "not_finite", "failed", True),
        (np.array([0.1, -np.inf], np.float32), "not_finite", "failed", True),
        (np.array([0.1, 1e30], np.float64), "not_finite", "failed", True),
        (np.zeros((2, 24000), np.float32), "malformed", "failed", False),
        (np.zeros(24000, np.int32), "malformed", "failed", False),
        (np.array(0.5, np.float32), "malformed", "failed", False),
    ],
)
def test_what_is_no_speech_is_rejected_and_the_reason_survives_the_pipe(
    pcm: np.ndarray, reason: str, kind: str, retryable: bool
):
    with pytest.raises(TakeRejected) as caught:
        check_take(pcm)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.reason, error.kind, error.retryable) == (reason, kind, retryable)
    assert str(error).startswith("the backend gave ")


def test_silence_is_right_where_there_was_nothing_to_say():
    assert check_take(np.zeros(2400, np.float32), has_letters=False).pcm.size == 2400


@pytest.mark.parametrize("size", [1, 15, 16, 4095, 4096, 100_001])
def test_a_stored_take_comes_back_to_the_sample(size: int, tmp_path: Path):
    pcm = np.random.default_rng(size).integers(-32768, 32768, size, dtype=np.int16)
    for rate in (16000, 22050, 24000, 48000):
        flac, wav = to_flac(pcm, rate), to_wav(pcm, rate)
        assert packed(wav) == packed(flac) == flac
        path = tmp_path / "take.flac"
        path.write_bytes(flac)
        for source in (flac, path, wav):
            back, back_rate = read_take(source)
            assert np.array_equal(back, pcm)
            assert back_rate == rate

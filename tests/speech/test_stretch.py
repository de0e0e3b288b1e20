"""Another tempo, the same pitch, the exact length."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.errors import InvalidInput
from gateway.speech.sound.stretch import stretch

SPEEDS = (0.5, 0.75, 0.9, 1.1, 1.5, 2.0)


def test_speed_one_returns_the_very_same_samples():
    pcm = np.ones(100, np.float32)
    assert stretch(pcm, 24000, 1.0)[0] is pcm


@pytest.mark.parametrize("rate", [8000, 22050, 24000, 44100, 48000])
def test_the_length_is_exact_for_any_length_and_rate(rate: int):
    rng = np.random.default_rng(rate)
    for size in (0, 1, 2, 10, 299, 300, 301, 1000, 7777):
        for speed in (*SPEEDS, 0.501, 0.999, 1.001, 1.999):
            out = stretch(rng.standard_normal(size).astype(np.float32), rate, speed)[0]
            assert out.size == round(size / speed) or size == 0
            assert np.isfinite(out).all()


@pytest.mark.parametrize("pitch", [90, 150, 220, 440, 3000])
@pytest.mark.parametrize("speed", SPEEDS)
def test_a_tone_keeps_its_pitch_and_its_level(pitch: int, speed: float):
    rate = 24000
    tone = (0.5 * np.sin(2 * np.pi * pitch * np.arange(2 * rate) / rate)).astype(np.float32)
    out = stretch(tone, rate, speed)[0]
    spectrum = np.abs(np.fft.rfft(out * np.hanning(out.size), 1 << 18))
    assert spectrum.argmax() * rate / (1 << 18) == pytest.approx(pitch, abs=max(0.5, pitch * 0.002))
    inner = out[1200 : 1200 + 600 * ((out.size - 2400) // 600)].reshape(-1, 600)
    levels = np.sqrt(np.mean(inner**2, axis=1))
    assert 0.29 < levels.min() <= levels.max() < 0.42


def test_the_beginning_stays_the_beginning():
    noise = np.random.default_rng(1).standard_normal(24000).astype(np.float32)
    assert np.allclose(stretch(noise, 24000, 1.5)[0][:300], noise[:300], atol=1e-5)


def test_a_click_stays_where_the_tempo_puts_it():
    pcm = np.zeros(48000, np.float32)
    pcm[24000:24100] = 1.0
    for speed in SPEEDS:
        out = stretch(pcm, 24000, speed)[0]
        assert abs(int(np.abs(out).argmax()) - 24050 / speed) < 24000 * 0.03


def test_scale_does_not_matter():
    noise = np.random.default_rng(2).standard_normal(9600).astype(np.float32)
    assert np.allclose(
        stretch(noise * np.float32(4096), 24000, 0.8)[0], stretch(noise, 24000, 0.8)[0] * 4096, rtol=1e-4, atol=1e-2
    )


def test_digital_silence_stays_silent():
    assert not stretch(np.zeros(24000, np.float32), 24000, 0.7)[0].any()


@pytest.mark.parametrize("speed", [0.49, 2.01, float("nan"), 0.0, -1.0])
def test_a_speed_out_of_range_is_refused(speed: float):
    with pytest.raises(InvalidInput, match=r"between 0\.5 and 2\.0"):
        stretch(np.ones(10, np.float32), 24000, speed)

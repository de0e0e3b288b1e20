"""Levels are of the speech, not of its pauses, and a gain never clips."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.speech.sound.loudness import LevelMeter, gain_for

RATE = 24000


def square(level_dbfs: float, seconds: float) -> np.ndarray:
    value = round(32768 * 10 ** (level_dbfs / 20))
    return np.tile(np.array([value, -value], np.int16), round(seconds * RATE / 2))


def measure(*pieces: np.ndarray) -> LevelMeter:
    meter = LevelMeter(RATE)
    for piece in pieces:
        meter.add(piece)
    return meter


def test_a_steady_level_is_measured():
    assert measure(square(-20, 3)).level() == pytest.approx(-20, abs=0.05)


def test_pauses_do_not_make_a_voice_softer():
    silence = np.zeros(RATE * 5, np.int16)
    assert measure(square(-20, 1), silence, square(-55, 2), square(-20, 1)).level() == pytest.approx(-20, abs=0.05)


def test_the_size_of_the_pieces_does_not_matter():
    pcm = np.concatenate((square(-18, 1.03), square(-24, 2.01)))
    pieces = np.array_split(pcm, 37)
    assert measure(*pieces).level() == measure(pcm).level()
    assert measure(*pieces).peak == measure(pcm).peak


def test_a_very_short_sound_has_a_level_and_silence_has_none():
    assert measure(square(-20, 0.02)).level() == pytest.approx(-20, abs=0.05)
    assert measure(np.zeros(RATE, np.int16)).level() == -math.inf
    assert measure().level() == -math.inf


def test_the_gain_reaches_the_target_where_there_is_room():
    assert gain_for(-26, -20, 0.3) == pytest.approx(10 ** (6 / 20))
    assert gain_for(-14, -20, 0.9) == pytest.approx(10 ** (-6 / 20))


def test_the_gain_stops_below_full_scale():
    assert gain_for(-26, -10, 0.5) * 0.5 == pytest.approx(10 ** (-1 / 20))
    assert gain_for(-26, -10, 1.0) == 1.0


def test_silence_is_left_alone():
    assert gain_for(-math.inf, -20, 0.0) == 1.0

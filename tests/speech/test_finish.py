"""A take loses the silence around it, and nothing within."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from backends.interface import Take
from gateway.speech.sound.finish import Finish, finish_file, finish_take, post
from gateway.speech.sound.take import TakeRejected, check_take, read_take

RATE = 24000


def words(lead_ms: int, tail_ms: int, pause_ms: int = 400) -> np.ndarray:
    """Two tones of 300 ms with a pause, digital silence around."""
    tone = (0.3 * np.sin(2 * np.pi * 180 * np.arange(RATE * 300 // 1000) / RATE)).astype(np.float32)
    silences = [np.zeros(RATE * ms // 1000, np.float32) for ms in (lead_ms, pause_ms, tail_ms)]
    return np.concatenate((silences[0], tone, silences[1], tone, silences[2]))


def test_edges_are_cut_to_twenty_and_sixty_milliseconds():
    finished = finish_take(check_take(words(300, 440)).pcm, RATE, Finish()).pcm
    speech = np.flatnonzero(finished)
    assert finished.size == pytest.approx(RATE * 1.08, abs=RATE * 0.02)
    assert speech[0] == pytest.approx(RATE * 0.02, abs=RATE * 0.011)
    assert finished.size - speech[-1] == pytest.approx(RATE * 0.06, abs=RATE * 0.011)


def test_a_pause_inside_is_never_cut():
    short, long = (
        finish_take(check_take(words(100, 100, pause)).pcm, RATE, Finish()).pcm.size for pause in (400, 3000)
    )
    assert long - short == RATE * 2600 // 1000


def test_a_take_without_silence_around_is_left_as_it_is():
    pcm = check_take(words(0, 0)).pcm
    assert np.array_equal(finish_take(pcm, RATE, Finish()).pcm, pcm)
    assert np.array_equal(
        finish_take(check_take(words(500, 500)).pcm, RATE, Finish(trim=False)).pcm, check_take(words(500, 500)).pcm
    )


def test_cut_edges_fade_and_the_take_itself_is_not_written_to():
    hiss = np.random.default_rng(3).normal(0, 1e-4, RATE * 2).astype(np.float32)
    hiss[RATE : RATE + 6000] += words(0, 0)[:6000]
    pcm = check_take(hiss).pcm
    before = pcm.copy()
    finished = finish_take(pcm, RATE, Finish()).pcm
    assert finished.size < pcm.size
    assert abs(int(finished[0])) <= 1
    assert abs(int(finished[-1])) <= 1
    assert np.array_equal(pcm, before)


@pytest.mark.parametrize("speed", [0.5, 1.0, 1.7, 2.0])
def test_a_resumed_take_is_finished_to_the_same_samples(speed: float):
    finish = Finish(speed=speed)
    live = post(Take(1, words(200, 300), RATE), msgspec.json.encode(finish), True)
    resumed = finish_file(live.file, finish)
    assert resumed.rate == RATE
    assert resumed.pcm.astype("<i2").tobytes() == live.pcm
    assert live.samples == words(200, 300).size
    assert np.array_equal(read_take(live.file)[0], check_take(words(200, 300)).pcm)


def test_speed_changes_the_trimmed_length_exactly():
    pcm = check_take(words(300, 440)).pcm
    trimmed = finish_take(pcm, RATE, Finish()).pcm.size
    for speed in (0.5, 0.8, 1.25, 2.0):
        assert finish_take(pcm, RATE, Finish(speed=speed)).pcm.size == round(trimmed / speed)


def test_no_wish_means_the_default_and_the_gain_is_told():
    done = post(Take(1, words(300, 300) * 5, RATE), b"", True)
    assert done.pcm == post(Take(1, words(300, 300) * 5, RATE), b"{}", True).pcm
    assert done.gain_db == pytest.approx(-3.52, abs=0.01)


def test_silence_is_rejected_only_where_there_was_something_to_say():
    with pytest.raises(TakeRejected):
        post(Take(1, np.zeros(2400, np.float32), RATE), b"", True)
    assert post(Take(1, np.zeros(2400, np.float32), RATE), b"", False).samples == 2400

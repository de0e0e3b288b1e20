"""Word times follow the words through trimming and stretching."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest

from backends.interface import Take, WordTime
from gateway.engines.order import FinishedTake
from gateway.speech.sound.finish import Finish, finish_file, post
from gateway.speech.sound.stretch import stretch
from gateway.speech.sound.word_times import WordTimes, mapped

RATE = 24_000
MS = RATE / 1000


def utterance(count: int = 40, seed: int = 3) -> tuple[np.ndarray, WordTimes]:
    """Words of voiced sound with overtones, each of another pitch and length, with short silences between them."""
    rng = np.random.default_rng(seed)
    parts, words, at = [np.zeros(7_000)], [], 7_000
    for nth in range(count):
        size, gap = round(RATE * rng.uniform(0.12, 0.4)), round(RATE * rng.uniform(0.05, 0.15))
        phase = 2 * np.pi * rng.uniform(90, 250) * np.arange(size) / RATE
        voice = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 12))
        parts += [0.2 * voice, np.zeros(gap)]
        words.append(WordTime(at, at + size, f"word{nth}"))
        at += size + gap
    parts.append(np.zeros(9_000))
    return np.concatenate(parts).astype(np.float32), tuple(words)


def sounds(pcm: np.ndarray) -> np.ndarray:
    """Begin and end of each stretch of sound, by half its level over 4 ms; silences below 20 ms count as sound."""
    level = np.sqrt(np.convolve(pcm.astype(np.float64) ** 2, np.ones(96) / 96, "same"))
    loud = np.flatnonzero(level > 0.5 * np.median(level[level > 0.02 * level.max()]))
    breaks = np.flatnonzero(np.diff(loud) > 20 * MS)
    return np.stack((loud[np.r_[0, breaks + 1]], loud[np.r_[breaks, loud.size - 1]] + 1), axis=1)


def finished(pcm: np.ndarray, words: WordTimes, speed: float) -> FinishedTake:
    return post(Take(1, pcm, RATE, words=words), msgspec.json.encode(Finish(speed=speed)), True)


def worst_ms(words: WordTimes, heard: np.ndarray, speed: float = 1.0) -> float:
    """The greatest distance between told and heard times; the told ones are divided by `speed`."""
    told = np.array([(word.start, word.end) for word in words]) / speed
    return float(np.abs(told - heard).max()) / MS


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("speed", [0.5, 0.6, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0])
def test_words_are_within_15_ms_of_where_they_are_heard_at_every_speed(speed: float, seed: int) -> None:
    pcm, words = utterance(seed=seed)
    done = finished(pcm, words, speed)
    assert done.words == words
    assert [word.word for word in done.pcm_words] == [word.word for word in words]
    assert worst_ms(done.pcm_words, sounds(np.frombuffer(done.pcm, "<i2"))) < 15


def test_a_straight_line_would_be_off_by_more_in_slow_speech() -> None:
    pcm, words = utterance()
    unstretched = finished(pcm, words, 1.0).pcm_words
    heard = sounds(np.frombuffer(finished(pcm, words, 0.5).pcm, "<i2"))
    assert worst_ms(unstretched, heard, 0.5) > 28


@pytest.mark.parametrize("speed", [0.5, 0.75, 1.25, 2.0])
def test_words_stay_in_order_inside_the_take_and_never_overlap_also_without_pauses(speed: float) -> None:
    noise = np.random.default_rng(1).standard_normal(RATE * 3).astype(np.float32)
    places = range(0, noise.size + 1, 480)
    out, times = stretch(noise, RATE, speed)
    words = mapped(tuple(WordTime(a, b, "x") for a, b in itertools.pairwise(places)), times)
    flat = [at for word in words for at in (word.start, word.end)]
    assert flat == sorted(flat)
    assert 0 <= flat[0] <= flat[-1] <= out.size
    assert worst_ms(words, np.array(list(itertools.pairwise(places))) / speed) < 40


def test_a_stored_take_is_finished_to_the_same_words_as_a_new_one() -> None:
    pcm, words = utterance(5)
    for speed in (1.0, 0.7):
        done = finished(pcm, words, speed)
        assert finish_file(done.file, Finish(speed=speed), done.words).words == done.pcm_words


def test_trimming_moves_words_by_the_samples_it_cuts() -> None:
    pcm, words = utterance(3)
    done = finished(pcm, words, 1.0)
    cut = words[0].start - done.pcm_words[0].start
    assert cut > 0
    assert [(w.start - cut, w.end - cut) for w in words] == [(w.start, w.end) for w in done.pcm_words]


@pytest.mark.parametrize(
    "words",
    [
        (WordTime(0, 99_999_999, "long"),),
        (WordTime(-1, 5, "early"),),
        (WordTime(500, 400, "backwards"),),
        (WordTime(500, 900, "second"), WordTime(0, 400, "first")),
    ],
)
def test_word_times_that_cannot_be_right_are_left_out(words: WordTimes) -> None:
    pcm, _ = utterance(2)
    done = finished(pcm, words, 1.0)
    assert done.words == done.pcm_words == ()

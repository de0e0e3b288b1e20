"""The embedded voice, for real."""

from __future__ import annotations

import numpy as np
import pytest
from support.hosting import context

from backends.hibari import HibariBackend, foreign_script, readable
from backends.interface import Chunk, ChunkFailed, NoOptions, NoSettings, Take
from backends.testing.conformance import check
from backends.testing.feeds import KitFeed


@pytest.fixture(scope="module")
def hibari():
    backend = HibariBackend(NoSettings(), context())
    backend.load(lambda share, text: None)
    return backend


def speak(backend, *texts: str):
    voice = backend.voices()[0]
    chunks = [Chunk(n, text, voice, "en-US", 3, NoOptions()) for n, text in enumerate(texts)]
    return list(backend.synthesize(KitFeed(chunks, set())))


def test_it_keeps_the_contract():
    assert [finding for finding in check(HibariBackend, {}, context()) if not finding.ok] == []


def test_it_speaks_a_sentence_at_the_pace_and_level_of_speech(hibari):
    (take,) = speak(hibari, "The quick brown fox jumps over the lazy dog.")
    assert isinstance(take, Take)
    assert 2.0 < len(take.pcm) / 24_000 < 5.0
    assert 0.05 < np.abs(take.pcm).max() <= 1.0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("你好，世界", "Chinese characters"),
        ("Привет", "Cyrillic script"),
        ("مرحبا", "Arabic script"),
        ("She said こんにちは to me.", "Hiragana script"),
        ("The word Москва is a name.", "Cyrillic script"),
        ("안녕", "Hangul script"),
    ],
)
def test_a_script_it_cannot_speak_is_named_and_never_silence(hibari, text: str, name: str):
    (failed,) = speak(hibari, text)
    assert isinstance(failed, ChunkFailed)
    assert failed.kind == "unsupported_text"
    assert name in failed.error
    assert not failed.retryable


@pytest.mark.parametrize(
    "text", ["Naïve café, façade, Zürich, Øresund.", "The area is πr², at 5 µm.", "3 × 4 = 12", "I."]
)
def test_english_as_people_write_it_is_spoken(hibari, text: str):
    assert foreign_script(text) is None
    (take,) = speak(hibari, text)
    assert isinstance(take, Take)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("7" * 37, " ".join("7" * 37)),
        ("$" + "9,999" * 10, "$" + " ".join("9999" * 10)),
        ("10⁻⁶ m", "10 to the minus 6  m"),
        ("x⁻¹", "x to the minus 1 "),
        ("2⁶⁴ and 5² m³", "2 to the 64  and 5² m³"),
        ("So they say¹ of words²³.", "So they say 1  of words 23 ."),
        ("7" * 36, "7" * 36),
    ],
)
def test_figures_its_rules_have_no_words_for_are_written_so_that_they_have(hibari, text: str, spoken: str):
    assert readable(text) == spoken
    (take,) = speak(hibari, text)
    assert isinstance(take, Take)


def test_a_text_that_breaks_its_rules_fails_alone(hibari):
    before, failed, after = speak(hibari, "The one before.", "It is called ⑴.", "The one after.")
    assert isinstance(before, Take)
    assert isinstance(after, Take)
    assert isinstance(failed, ChunkFailed)
    assert failed.kind == "unsupported_text"
    assert "cannot read" in failed.error


def test_text_without_sound_is_refused_as_text(hibari):
    (failed,) = speak(hibari, "😀")
    assert isinstance(failed, ChunkFailed)
    assert failed.kind == "unsupported_text"

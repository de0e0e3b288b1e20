"""Text is made harmless before any engine sees it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.speech.text.cleaning import clean, has_speech


@pytest.mark.parametrize(
    ("written", "cleaned"),
    [
        ("Hello\x00\x01\x07\x1b[31m red\x1b[0m", "Hello red"),
        ("a\ud800b", "ab"),
        ("one\r\ntwo\rthree\x85four\u2029five", "one\ntwo\nthree\nfour\n\nfive"),
        ("soft\xadhy\ufeffphen\u200b", "softhyphen"),
        ("cafe\u0301", "café"),
        ("[tomato](/təmˈɑːtəʊ/) soup", "tomato soup"),
        ("x](/y/)", "x] (/y/)"),
        ("[[a](/b/)](/c/)", "[a] (/c/)"),
        ("see [the docs](https://example.org)", "see [the docs](https://example.org)"),
        ("family 👨‍👩‍👧 نمی‌خواهم", "family 👨‍👩‍👧 نمی‌خواهم"),
    ],
)
def test_what_no_listener_hears_is_removed(written: str, cleaned: str):
    assert clean(written) == cleaned


@given(st.text(alphabet=st.characters(codec=None, categories=None)))
def test_clean_text_stays_as_it_is_and_can_be_encoded(text: str):
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    cleaned.encode()
    assert "](/" not in cleaned


def test_a_hostile_run_of_combining_marks_is_shortened():
    cleaned = clean("a" + "\u0301\u0323" * 200_000 + "b")
    assert len(cleaned) < 40
    assert cleaned.endswith("b")


@pytest.mark.parametrize("text", ["a", "7", "é", "你", "ا", "½"])
def test_letters_and_digits_of_any_script_can_be_spoken(text: str):
    assert has_speech(f"... {text} !")


@pytest.mark.parametrize("text", ["", " \n", "...", "***", "🎉", "€", "_", "—"])
def test_marks_alone_cannot_be_spoken(text: str):
    assert not has_speech(text)

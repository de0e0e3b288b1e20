"""Text is made harmless before any engine sees it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.speech.text.cleaning import clean, has_speech
from gateway.speech.text.segmenter import paragraphs


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


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("The long connec-\ntions between lines.", ["The long connections between lines."]),
        ("It was a one-\nsided game of twenty-\nfive minutes.", ["It was a one-sided game of twenty-five minutes."]),
        (
            "The house was named after him, and it is said that the captain,\nwho had planned all of the roads, came.",
            ["The house was named after him, and it is said that the captain, who had planned all of the roads, came."],
        ),
        ("He came (at last)\nand left.", ["He came (at last) and left."]),
        ("Milk, eggs,\nFlour.", ["Milk, eggs,", "Flour."]),
    ],
)  # fmt: skip
def test_wrapped_lines_are_one_sentence(written: str, read: list[str]) -> None:
    assert [run for runs in paragraphs(written) for run in runs] == read

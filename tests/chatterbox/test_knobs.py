"""Tests of `token_cap`: the number of speech tokens at which a text is cut."""

from __future__ import annotations

import pytest

from backends.chatterbox.knobs import token_cap


@pytest.mark.parametrize(
    ("text", "cap"),
    [
        ("", 75),
        ("Hi", 75),
        ("The quick brown fox jumps over the lazy dog.", 207),  # 3.1 s, twice, and 2 s
        ("x" * 280, 1000),
        ("今天天氣很好。", 117),  # the characters are words
        ("これは日本の歌です", 120),
        ("안녕하세요", 95),
        ("1984", 126),  # said in words
    ],
)
def test_it_is_twice_the_usual_pace_and_two_seconds(text: str, cap: int) -> None:
    assert token_cap(text) == cap


def test_no_chunk_takes_more_than_upstream_allows() -> None:
    assert token_cap("今" * 300) == 1000

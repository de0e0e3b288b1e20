"""Lone surrogates are cut from JSON as the standard library's parser would leave them out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile import examples

from gateway.speech.text.surrogates import cut_in_slices, without_lone_surrogates

PIECES = (
    rb"\ud83d", rb"\ude00", rb"\uD83D", rb"\uDC00", rb"\\", rb"\"", rb"\n", rb"\u00e9", rb"\u0041", b"u", b"ud83d",
    b"d", b"8", b"3d", b"a", b" ", "é".encode(), "😀".encode(), rb"\\ud83d", rb"\\\ud83d", rb"\ud83d\\ude00",
)  # fmt: skip

strings = st.lists(st.sampled_from(PIECES), max_size=24).map(b"".join)


def heard(body: bytes) -> str:
    """The string of a JSON document without lone surrogates, by the standard library."""
    return str(json.loads(body)).encode("utf-8", "ignore").decode()


@given(strings)
@examples(1500)
def test_nothing_but_lone_surrogates_is_cut(content: bytes) -> None:
    body = b'"' + content + b'"'
    assert json.loads(without_lone_surrogates(body)) == heard(body)


@given(strings, st.integers(2, 30))
@examples(1500)
def test_slices_of_any_size_give_the_same(content: bytes, size: int) -> None:
    body = b'"' + content + b'"'
    assert b"".join(cut_in_slices(body, size)) == without_lone_surrogates(body)


@pytest.mark.parametrize("raw", [b"\xed\xa0\xbd", b"\xed\xb8\x80", b"\xed\xa0\xbd\xed\xb8\x80"])
def test_surrogates_in_utf_8_are_cut_too(raw: bytes) -> None:
    assert without_lone_surrogates(b'"a' + raw + 'b\ud7ff"'.encode("utf-8", "surrogatepass")) == '"ab\ud7ff"'.encode()


@pytest.mark.parametrize("unit", [rb"\ud83d", rb"\ud83d\ude00", rb"\\", rb"\n", b"a", b"[],"])
def test_a_slice_holds_about_as_much_as_it_should_whatever_is_in_it(unit: bytes) -> None:
    body = unit * (300_000 // len(unit))
    slices = list(cut_in_slices(body, 10_000))
    assert max(map(len, slices)) <= 10_020
    assert len(slices) <= len(body) // 9_990 + 1

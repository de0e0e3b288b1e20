"""Large objects are read key by key: what is large and is no text is refused before it is decoded."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from gateway.errors import InvalidInput
from gateway.speech.decode import decode_request
from gateway.speech.parts import MAX_VALUE_BYTES

TEXT = "A long text, é, \U0001f600. " * 20_000


def refused(body: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        decode_request(body)
    return str(caught.value)


@pytest.mark.parametrize(
    "more",
    [{}, {"speed": 1.5, "seed": 7}, {"voice": None, "options": {"a": [1, {"b": None}]}}, {"unknown": None}],
)
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_long_text_is_read_as_a_short_one(more: dict[str, Any], ascii_only: bool, wrapped: bool) -> None:
    def read(text: str) -> Any:
        asked: Any = {"text": text, **more}
        return decode_request(json.dumps({"input": asked} if wrapped else asked, ensure_ascii=ascii_only).encode())

    short, long = read("Short."), read(TEXT)
    assert long.text.strip() == TEXT.strip()
    assert [getattr(long, name) for name in long.__struct_fields__ if name != "text"] == [
        getattr(short, name) for name in short.__struct_fields__ if name != "text"
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"speeed": 1}, "unknown input 'speeed': did you mean 'speed'?"),
        ({"speed": 9}, "speed must be between 0.5 and 2.0, got 9"),
        ({"text": ["a"] * 100_000}, "text must be a string, got a list"),
        ({"text": {"a": "b" * 200_000}}, "text must be a string, got an object"),
        ({"input": 1}, "unknown input 'input'"),
        ({"options": {"a": [{}] * 100_000}}, f"options may have at most {MAX_VALUE_BYTES} bytes of JSON"),
        ({"voice": "v" * 200_000}, f"voice may have at most {MAX_VALUE_BYTES} bytes of JSON"),
        ({f"k{n}": 1 for n in range(50_000)}, "unknown input 'k0'"),
    ],
)
def test_a_mistake_beside_a_long_text_is_told(more: dict[str, Any], words: str) -> None:
    assert words in refused(json.dumps({"text": TEXT, **more}).encode())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[" + b"[]," * 50_000 + b"1]", "input must be an object"),
        (b'"' + b"a" * 200_000 + b'"', "input must be an object"),
        (b"[" + b"[]," * 50_000, "not valid JSON"),
        (b'{"text":"' + b"a" * 200_000, "not valid JSON"),
    ],
)
def test_a_large_body_that_is_no_object_is_told(body: bytes, words: str) -> None:
    assert words in refused(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"text":"a","options":{"a":[' + b"{}," * 1_000_000 + b"1]}}",
        b'{"text":[' + b"[]," * 1_000_000 + b"1]}",
        b'{"text":"a",' + b",".join(b'"%d":1' % n for n in range(300_000)) + b"}",
        b'{"text":"a",' + b'"seed":[' + b"{}," * 1_000_000 + b"1]}",
        b"[" + b"{}," * 1_000_000 + b"1]",
    ],
    ids=["options", "text", "keys", "seed", "no object"],
)
def test_what_is_refused_for_its_size_is_not_decoded(body: bytes) -> None:
    tracemalloc.start()
    refused(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(body)  # copies of the bytes, where each empty list alone would be twenty times its JSON

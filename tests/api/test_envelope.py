from __future__ import annotations

import msgspec
import pytest

from gateway.api.http.envelope import characters_of, decode_envelope
from gateway.errors import BadRequest


def test_half_an_emoji_in_the_text_is_dropped_and_the_rest_is_heard_and_counted() -> None:
    envelope = decode_envelope(b'{"input":{"text":"half \\ud83d, whole \\ud83d\\ude00"}}')
    assert msgspec.json.decode(envelope.input) == {"text": "half , whole \U0001f600"}
    assert characters_of(envelope.input) == len("half , whole \U0001f600")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[" * 100_000, b'{"input":null}', b"\xff\xfe", b'{"webhook":1,"input":{}}']
)
def test_what_is_no_envelope_is_refused_in_words(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"input|json|request"):
        decode_envelope(body)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("body", ['{"input":{"text":"a","speed":%s}}', '{"input":{"text":"a"},"policy":{"ttl":%s}}'])
def test_what_pythons_json_writes_for_no_number_is_named(body: str, word: str) -> None:
    with pytest.raises(BadRequest, match=f"JSON has no {word}, only finite numbers"):
        decode_envelope((body % word).encode())

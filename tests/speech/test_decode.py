"""Requests are decoded with documented defaults, and invalid ones are refused with the allowed values."""

from __future__ import annotations

import msgspec
import pytest

from gateway.errors import InvalidInput
from gateway.speech.decode import decode_request, language_matches, normalize_language
from gateway.speech.request import SpeechRequest


def test_a_bare_text_gets_the_documented_defaults():
    request = decode_request(b'{"text": "Hello"}')
    assert request == SpeechRequest("Hello")
    assert (request.format, request.speed, request.voice, request.language, request.seed) == (
        "mp3", 1.0, "default", "en", None,
    )  # fmt: skip


def test_defaults_of_the_endpoint_fill_only_what_is_absent_or_null():
    defaults = {"voice": "heart", "speed": 1.5, "format": "wav"}
    request = decode_request(b'{"text": "Hello", "speed": 0.75, "voice": null}', defaults)
    assert (request.voice, request.speed, request.format) == ("heart", 0.75, "wav")


def test_a_default_bitrate_does_not_stand_in_the_way_of_another_format():
    assert decode_request(b'{"text": "Hi", "format": "wav"}', {"bitrate": 96}).bitrate is None
    assert decode_request(b'{"text": "Hi"}', {"bitrate": 96}).bitrate == 96


def test_a_raw_message_and_a_doubly_wrapped_input_are_read():
    assert decode_request(msgspec.Raw(b'{"input": {"text": "Hello"}}')).text == "Hello"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"text":"hi","speed":3.0}', "speed must be between 0.5 and 2.0, got 3.0"),
        (b'{"text":"hi","speed":"fast"}', 'speed must be a number between 0.5 and 2.0, got "fast"'),
        (b'{"text":"hi","speed":true}', "speed must be a number between 0.5 and 2.0, got true"),
        (b'{"text":"hi","speed":NaN}', "speed must be between 0.5 and 2.0, got NaN"),
        (b'{"text":"hi","speed":1e999}', "speed must be between 0.5 and 2.0, got Infinity"),
        (b'{"text":"hi","speeed":1}', "unknown input 'speeed': did you mean 'speed'?"),
        (b'{"text":"hi","pitch":1}', "Known: text, format, speed"),
        (b'{"text":"hi","seed":-1}', "seed must be between 0 and 9223372036854775807, got -1"),
        (b'{"text":"hi","seed":0.5}', "seed must be a whole number"),
        (b'{"text":"hi","seed":1' + b"0" * 400 + b"}", "got a number of more than 60 digits"),
        (b'{"text":"hi","seed":1' + b"0" * 5000 + b"}", "got Infinity"),
        (b'{"text":"hi","format":"ogg"}', 'format must be one of mp3, wav, pcm, flac, opus, aac, got "ogg"'),
        (b'{"text":"hi","bitrate":63}', "bitrate of mp3 must be one of 32, 40, 48"),
        (b'{"text":"hi","bitrate":64,"format":"wav"}', "bitrate is for mp3, opus, aac; wav has none"),
        (b'{"text":"hi","language":"english"}', "language must be a BCP 47 tag"),
        (b'{"text":"hi","voice":7}', "voice must be a name of at most 200 characters, got 7"),
        (b'{"text":"hi","voice":" "}', "voice must be a name of at most 200 printable characters"),
        (b'{"text":"hi","format":"\\ud800"}', "half a character (a lone surrogate)"),
        (b'{"text":"hi","\\ud800":1}', "half a character (a lone surrogate)"),
        (b'{"text":"hi","voice":"\\ud800"}', "voice must be a name of at most 200 printable characters"),
        (b'{"text":"hi","options":[]}', "options must be an object"),
        (b'{"text":"hi","options":{"a":NaN}}', "options cannot be kept as JSON"),
        (b'{"text":"hi","cache":"no"}', "cache must be one of use, refresh, off"),
        (b'{"text":"hi","loudness":0}', "loudness must be between -40.0 and -10.0, got 0"),
        (b'{"text":"hi","strict":1}', "strict must be true or false, got 1"),
        (b"{}", "text is missing"),
        (b'{"text":null}', "text is missing"),
        (b'{"text":" \\n"}', "text is empty"),
        (b'{"text":"...!"}', "text has nothing to speak"),
        ('{"text":"🎉"}'.encode(), "text has nothing to speak"),
        (b'{"text":5}', "text must be a string, got 5"),
        (b'["hi"]', "input must be an object"),
        (b"hello", "input is not valid JSON"),
        (b"[" * 100_000, "input is not valid JSON"),
    ],
)
def test_a_mistake_is_answered_with_what_is_allowed(body: bytes, message: str):
    with pytest.raises(InvalidInput) as caught:
        decode_request(body)
    assert message in str(caught.value)
    str(caught.value).encode()


def test_half_an_emoji_and_control_characters_are_left_out_of_the_text():
    assert decode_request(b'{"text": "Hello \\ud83d\\u0000 there"}').text == "Hello  there"


def test_whole_floats_are_seeds_and_formats_have_no_case():
    request = decode_request(b'{"text": "Hi", "seed": 42.0, "format": "MP3", "seed": 9223372036854775807}')
    assert (request.seed, request.format) == (2**63 - 1, "mp3")


def test_a_request_survives_the_way_through_the_database():
    request = decode_request('{"text": "Grüße 👋", "options": {"exaggeration": 0.5}}'.encode())
    assert msgspec.json.decode(msgspec.json.encode(request), type=SpeechRequest) == request


@pytest.mark.parametrize(
    ("asked", "have", "same"),
    [
        ("en", "en-US", True), ("en-US", "en", True), ("EN_us", "en-US", True), ("eng", "en-US", True),
        ("en-GB", "en-US", False), ("de", "en", False), ("zh-Hant", "zh-Hans", False), ("zh-Hant", "zh-TW", True),
        ("cmn-CN", "zh", True), ("pt-BR", "*", True),
        ("nb", "no", True), ("nb-NO", "no", True), ("no", "nb-NO", True), ("nn", "no", True), ("nn-NO", "nb-NO", True),
        ("nb", "nn", False), ("no", "nn-NO", False), ("nn", "da", False), ("nn", "*", True),
    ],
)  # fmt: skip
def test_languages_match_as_bcp_47_means_them(asked: str, have: str, same: bool):
    assert language_matches(asked, have) is same


def test_language_tags_have_one_spelling():
    assert [normalize_language(tag) for tag in ("EN_us", "eng", "zh-hant-tw")] == ["en-US", "en", "zh-Hant-TW"]

"""Decodes the JSON of `input` to a SpeechRequest, or raises an error that says what to change."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

import msgspec

from gateway.errors import InvalidInput
from gateway.settings.nearest import nearest
from gateway.speech.encode import BITRATES, missing
from gateway.speech.parts import MAX_VALUE_BYTES, Parts
from gateway.speech.request import AudioDelivery, AudioFormat, CacheUse, Normalize, SpeechInput, SpeechRequest
from gateway.speech.text.cleaning import clean, has_speech
from gateway.speech.text.language import language_matches, normalize_language
from gateway.speech.text.plan import FASTEST, SLOWEST

__all__ = ["decode_request", "language_matches", "normalize_language"]

_MAX_SEED = 2**63 - 1
_LOUDNESS_DBFS = (-40.0, -10.0)
_LONGEST_NAME = 200
_DEEPEST = 32
_MOST_DIGITS = 400
_PARTS = Parts((*SpeechInput.__struct_fields__, "input"), "text")


def decode_request(raw: bytes | msgspec.Raw, defaults: Mapping[str, Any] | None = None) -> SpeechRequest:
    """Decode and check the `input` of a request.

    A key that is null counts as absent. An `input` inside `input` is unwrapped. An unknown key is an error, since a
    mistyped key would change the audio unnoticed. The text is cleaned.

    Args:
        raw: the JSON object.
        defaults: for keys that are absent, in the same form.

    Raises:
        InvalidInput: the input is wrong; says what is wrong and what is allowed.
    """
    given = _parse(raw) if len(bytes(raw)) <= MAX_VALUE_BYTES else _parse_large(raw)
    if not isinstance(given, dict):
        raise InvalidInput(f'input must be an object such as {{"text": "Hello"}}, got {_shown(given)}')
    if len(given) == 1 and isinstance(given.get("input"), dict):
        given = given["input"]
    given = {key: value for key, value in given.items() if value is not None}
    for key in given:
        if key not in _CHECKS:
            raise InvalidInput(_unknown(key))
    fields = {key: check(value) for key, check in _CHECKS.items() if (value := given.get(key)) is not None}
    for key, value in (defaults or {}).items():
        if value is not None and key not in fields:
            if key not in _CHECKS:
                raise InvalidInput(f"in the defaults of this endpoint: {_unknown(key)}")
            fields[key] = _CHECKS[key](value)
    if "text" not in fields:
        raise InvalidInput("text is missing: input must have a 'text' to speak")
    _check_bitrate(fields, asked="bitrate" in given)
    return SpeechRequest(**fields)


def _parse(raw: bytes | msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # The standard parser also accepts lone surrogates (JavaScript sends them for half an emoji), NaN and 1e999,
        # so that the error can be about the value and not about the parser.
        try:
            return json.loads(bytes(raw), parse_int=_number)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"input is not valid JSON: {error}") from None


def _parse_large(raw: bytes | msgspec.Raw, *, wrapped: bool = False) -> Any:
    """Parse an object with a large text key by key."""
    try:
        parts = _PARTS.read(raw)
        if parts is None:
            return []  # any value that is no object
        if not wrapped and parts.keys() == {"input"} and bytes(parts["input"])[:1] == b"{":
            return _parse_large(parts["input"], wrapped=True)
        return {
            name: _parse(value) if len(bytes(value)) <= MAX_VALUE_BYTES else _PARTS.value(name, value)
            for name, value in parts.items()
        }
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"input is not valid JSON: {error}") from None


def _number(digits: str) -> int | float:
    """Return a whole number; one with too many digits for Python becomes infinity, which is out of every range."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"text must be a string, got {_shown(value)}")
    text = clean(value)
    if not text.strip():
        raise InvalidInput("text is empty")
    if not has_speech(text):
        raise InvalidInput("text has nothing to speak: it needs at least one letter or digit")
    return text


def _one_of(name: str, allowed: tuple[str, ...]) -> Callable[[Any], str]:
    listed = ", ".join(allowed)

    def check(value: Any) -> str:
        if isinstance(value, str) and value.lower() in allowed:
            return value.lower()
        raise InvalidInput(f"{name} must be one of {listed}, got {_shown(value)}")

    return check


def _format(value: Any) -> str:
    chosen = _one_of("format", get_args(AudioFormat))(value)
    lacking = missing(chosen)  # type: ignore[arg-type]
    if lacking is not None:
        raise InvalidInput(f"format {lacking}")
    return chosen


def _between(name: str, low: float, high: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidInput(f"{name} must be a number between {low} and {high}, got {_shown(value)}")
        # Compared before the conversion, since an integer may be too large for a float. NaN is in no range.
        if not low <= value <= high:
            raise InvalidInput(f"{name} must be between {low} and {high}, got {_shown(value)}")
        return float(value)

    return check


def _whole(name: str, low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidInput(f"{name} must be a whole number between {low} and {high}, got {_shown(value)}")
        if not low <= value <= high:
            raise InvalidInput(f"{name} must be between {low} and {high}, got {_shown(value)}")
        return value

    return check


def _name(name: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise InvalidInput(f"{name} must be a name, got {_shown(value)}")
        if len(value) > _LONGEST_NAME or not value.isprintable():
            raise InvalidInput(f"{name} must be a name of at most {_LONGEST_NAME} printable characters")
        return value.strip()

    return check


def _language(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"language must be a BCP 47 tag such as 'en' or 'en-US', got {_shown(value)}")
    normalize_language(value.strip())
    return value.strip()


def _options(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"options must be an object with the backend's own options, got {_shown(value)}")
    if _is_deeper(value, _DEEPEST):
        raise InvalidInput(f"options may be at most {_DEEPEST} levels deep")
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError as error:
        raise InvalidInput(f"options cannot be kept as JSON: {error}") from None
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    """Return whether lists and objects are nested deeper; code that reads the job later may have a lower limit."""
    row = [value]
    for _ in range(levels):
        row = [inner for each in row if isinstance(each, dict | list) for inner in _within(each)]
        if not row:
            return False
    return any(isinstance(each, dict | list) for each in row)


def _within(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _flag(name: str) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise InvalidInput(f"{name} must be true or false, got {_shown(value)}")
        return value

    return check


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "format": _format,
    "speed": _between("speed", SLOWEST, FASTEST),
    "voice": _name("voice"),
    "language": _language,
    "seed": _whole("seed", 0, _MAX_SEED),
    "backend": _name("backend"),
    "options": _options,
    "bitrate": _whole("bitrate", 1, 1000),
    "cache": _one_of("cache", get_args(CacheUse)),
    "delivery": _one_of("delivery", get_args(AudioDelivery)),
    "loudness": _between("loudness", *_LOUDNESS_DBFS),
    "normalize": _one_of("normalize", get_args(Normalize)),
    "strict": _flag("strict"),
    "words": _flag("words"),
}


def _check_bitrate(fields: dict[str, Any], asked: bool) -> None:
    bitrate = fields.get("bitrate")
    if bitrate is None:
        return
    chosen: AudioFormat = fields.get("format", "mp3")
    allowed = BITRATES.get(chosen)
    if allowed is not None and bitrate in allowed:
        return
    if not asked:  # a default of the endpoint for another format
        del fields["bitrate"]
    elif allowed is None:
        raise InvalidInput(f"bitrate is for {', '.join(BITRATES)}; {chosen} has none")
    else:
        listed = ", ".join(map(str, allowed))
        raise InvalidInput(f"bitrate of {chosen} must be one of {listed} kbit/s, got {bitrate}")


def _unknown(key: str) -> str:
    meant = nearest(key, SpeechInput.__struct_fields__)
    hint = f": did you mean {meant!r}?" if meant else "."
    return f"unknown input {_clipped(repr(key))}{hint} Known: {', '.join(SpeechInput.__struct_fields__)}"


def _shown(value: Any) -> str:
    """Return a value as the caller wrote it, clipped, for an error message."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    return _clipped(json.dumps(value))


def _clipped(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."

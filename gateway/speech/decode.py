"""Decodes the JSON of `input` to a SpeechRequest, or raises an error that says what to change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, get_origin

import msgspec

from gateway.errors import InvalidInput
from gateway.settings.words import Fault, alternatives, fault, shown
from gateway.speech.encode import BITRATES, missing
from gateway.speech.parts import MAX_VALUE_BYTES, Parts
from gateway.speech.request import SpeechInput, SpeechRequest
from gateway.speech.text.cleaning import clean, has_speech
from gateway.speech.text.language import language_matches, normalize_language

__all__ = ["convert_fields", "decode_request", "language_matches", "normalize_language"]

T = TypeVar("T", bound=msgspec.Struct)

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
        raise InvalidInput(f'input must be an object such as {{"text": "Hello"}}, got {shown(given)}')
    if len(given) == 1 and isinstance(given.get("input"), dict):
        given = given["input"]
    fields = convert_fields({**(defaults or {}), **_without_null(given)}, SpeechInput, "input")
    if isinstance(fields, Fault):
        of_default = fields.kind == "unknown" and fields.field not in given
        raise InvalidInput(f"in the defaults of this endpoint: {fields.message}" if of_default else fields.message)
    if (lacking := missing(fields.format)) is not None:
        raise InvalidInput(f"format {lacking}")
    normalize_language(language := fields.language.strip())
    values = msgspec.structs.asdict(fields) | {
        "text": _text(fields.text),
        "voice": _name("voice", fields.voice),
        "language": language,
        "backend": None if fields.backend is None else _name("backend", fields.backend),
        "options": _options(fields.options),
        "bitrate": _bitrate(fields, asked=given.get("bitrate") is not None),
    }
    return SpeechRequest(**values)


def convert_fields(given: Mapping[str, Any], struct: type[T], noun: str) -> T | Fault:
    """Convert decoded JSON to a struct of request fields, or return the first fault.

    A field that is null counts as absent, the case of a choice is ignored, and 42.0 is a whole number.

    Args:
        noun: the name of a field, for the message about an unknown one.
    """
    choice, whole = _lenient(struct)
    values = _without_null(given)
    for name in values.keys() & choice:
        if isinstance(values[name], str):
            values[name] = values[name].lower()
    for name in values.keys() & whole:
        if isinstance(values[name], float) and values[name].is_integer():
            values[name] = int(values[name])
    try:
        return msgspec.convert(values, struct)
    except msgspec.ValidationError as error:
        return fault(error, struct, given, noun)
    except UnicodeEncodeError:
        return Fault("", "value", f"half a character (a lone surrogate) stands in the name or choice of an {noun}")


def _without_null(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not null."""
    return {name: value for name, value in given.items() if value is not None}


@cache
def _lenient(struct: type[msgspec.Struct]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the fields that are choices, and of those that are whole numbers."""
    kinds = {field.name: alternatives(field.type) for field in msgspec.structs.fields(struct)}
    return (
        frozenset(name for name, kind in kinds.items() if any(get_origin(plain) is Literal for plain, _ in kind)),
        frozenset(name for name, kind in kinds.items() if any(plain is int for plain, _ in kind)),
    )


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


def _text(value: str) -> str:
    text = clean(value)
    if not text.strip():
        raise InvalidInput("text is empty")
    if not has_speech(text):
        raise InvalidInput("text has nothing to speak: it needs at least one letter or digit")
    return text


def _name(field: str, value: str) -> str:
    name = value.strip()
    if not name or not name.isprintable():
        raise InvalidInput(f"{field} must be a name of at most 200 printable characters, got {shown(value)}")
    return name


def _options(value: dict[str, Any]) -> dict[str, Any]:
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


def _bitrate(fields: SpeechInput, asked: bool) -> int | None:
    allowed = BITRATES.get(fields.format)
    if fields.bitrate is None or (allowed is not None and fields.bitrate in allowed):
        return fields.bitrate
    if not asked:  # a default of the endpoint for another format
        return None
    if allowed is None:
        raise InvalidInput(f"bitrate is for {', '.join(BITRATES)}; {fields.format} has none")
    listed = ", ".join(map(str, allowed))
    raise InvalidInput(f"bitrate of {fields.format} must be one of {listed} kbit/s, got {fields.bitrate}")

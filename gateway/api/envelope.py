"""From bytes to an Envelope: the one decoder the handlers and the fast lane share."""

from __future__ import annotations

import json
from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET

from gateway.errors import BadRequest
from gateway.jobs.views import TTL_MS, Envelope
from gateway.settings.words import explain

WAIT_MS = (1_000, 300_000)
DEFAULT_WAIT_MS = 90_000
MAX_IDEMPOTENCY_KEY = 255

RANGES = {"wait": WAIT_MS, "ttl": TTL_MS, "days": (1, 366)}
"""Query parameters that are a number, and what it may be."""

WaitMs: TypeAlias = Annotated[int, msgspec.Meta(ge=WAIT_MS[0], le=WAIT_MS[1])]

_decode = msgspec.json.Decoder(Envelope).decode


class _Text(msgspec.Struct):
    """The part of `input` that limits count; `input` inside `input` is what some clients send."""

    text: str = ""
    input: msgspec.Raw | msgspec.UnsetType = UNSET


_decode_text = msgspec.json.Decoder(_Text).decode


def decode_envelope(body: bytes) -> Envelope:
    """The envelope of `/run` and `/runsync`; a Content-Type is not asked for.

    Raises:
        BadRequest: not JSON, no `input`, or an envelope key of the wrong type.
    """
    try:
        try:
            envelope = _decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            envelope = _decode(without_half_characters(body))
    except msgspec.ValidationError as error:
        wrong = explain(error, Envelope)
        raise BadRequest(f'the request is invalid: {wrong}; send {{"input": {{"text": "..."}}}}') from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "the body is empty" if not body.strip() else str(error)
        raise BadRequest(f'json is invalid: {hint}; send {{"input": {{"text": "..."}}}}') from None
    if envelope.input is UNSET or bytes(envelope.input).strip() == b"null":
        raise BadRequest('input is missing; send {"input": {"text": "..."}}')
    return envelope


def without_half_characters(body: bytes) -> bytes:
    r"""The same JSON without lone surrogates (`"\ud83d"`), which JavaScript sends for half an emoji.

    msgspec refuses them; nobody can hear them.

    Raises:
        msgspec.DecodeError: it is no JSON all the same.
    """
    try:
        value = json.loads(body, parse_constant=_no_number)
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "ignore")
    except (ValueError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None


def _no_number(word: str) -> None:
    # Python's json writes NaN and Infinity; "invalid character (byte 43)" would tell nobody what is meant.
    raise ValueError(f"JSON has no {word}, only finite numbers")


def characters_of(raw_input: msgspec.Raw) -> int:
    """Characters of the text, for limits; 0 where the input is malformed, which the job itself will say."""
    try:
        decoded = _decode_text(raw_input)
        if not decoded.text and decoded.input is not UNSET:
            decoded = _decode_text(decoded.input)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return len(decoded.text)


def out_of_range(name: str) -> str:
    """RunPod's own words for a query parameter that cannot be."""
    low, high = RANGES[name]
    return f"{name} is invalid; must be between {low} and {high}"

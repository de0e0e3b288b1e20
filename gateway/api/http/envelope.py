"""From bytes to an Envelope: the one decoder the handlers and the fast lane share."""

from __future__ import annotations

import asyncio
import codecs
import json
import re
from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET

from gateway.errors import BadRequest
from gateway.jobs.model.views import TTL_MS, Envelope
from gateway.settings.words import explain
from gateway.speech.text.surrogates import cut_in_slices, without_lone_surrogates

WAIT_MS = (1_000, 300_000)
DEFAULT_WAIT_MS = 90_000
MAX_IDEMPOTENCY_KEY = 255

RANGES = {"wait": WAIT_MS, "ttl": TTL_MS, "days": (1, 366)}
"""Query parameters that are a number, and what it may be."""

WaitMs: TypeAlias = Annotated[int, msgspec.Meta(ge=WAIT_MS[0], le=WAIT_MS[1])]

SLICE_BYTES = 500_000
"""What is scanned for half characters at a time: at most about 10 ms."""

_AT = re.compile(r"\(byte (\d+)\)")
_NO_NUMBER = re.compile(rb"NaN|-?Infinity")
"""A parser stops at its first byte, or behind its sign."""
_decode = msgspec.json.Decoder(Envelope).decode


class _Text(msgspec.Struct):
    """The part of `input` that limits count; `input` inside `input` is what some clients send."""

    text: str = ""
    input: msgspec.Raw | msgspec.UnsetType = UNSET


_decode_text = msgspec.json.Decoder(_Text).decode


def decode_envelope(body: bytes, *, mend: bool = True) -> Envelope:
    """The envelope of `/run` and `/runsync`; a Content-Type is not asked for.

    Args:
        mend: whether a body that no parser takes is read once more, `mended`.

    Raises:
        BadRequest: not JSON, no `input`, or an envelope key of the wrong type.
    """
    try:
        try:
            envelope = _decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if not mend:
                raise
            envelope = _decode(mended(body))
    except msgspec.ValidationError as error:
        wrong = explain(error, Envelope)
        raise BadRequest(f'the request is invalid: {wrong}; send {{"input": {{"text": "..."}}}}') from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        wrong = what_is_wrong(body, error)
        raise BadRequest(f'json is invalid: {wrong}; send {{"input": {{"text": "..."}}}}') from None
    if envelope.input is UNSET or bytes(envelope.input).strip() == b"null":
        raise BadRequest('input is missing; send {"input": {"text": "..."}}')
    return envelope


async def read_envelope(body: bytes) -> Envelope:
    """The same; a large body that has to be mended is mended in slices, so that the event loop turns in between.

    Raises:
        BadRequest: see `decode_envelope`.
    """
    if len(body) <= SLICE_BYTES:
        return decode_envelope(body)
    try:
        return decode_envelope(body, mend=False)
    except BadRequest:
        return decode_envelope(await mended_in_slices(body), mend=False)


def mended(body: bytes) -> bytes:
    """JSON as a strict parser takes it: in UTF-8, without a byte order mark and without lone surrogates.

    JavaScript sends those for half an emoji, and nobody can hear them.
    """
    return without_lone_surrogates(_in_utf8(body))


async def mended_in_slices(body: bytes) -> bytes:
    """The same, and the event loop turns after each slice."""
    slices = []
    for piece in cut_in_slices(_in_utf8(body), SLICE_BYTES):
        slices.append(piece)
        await asyncio.sleep(0)
    return b"".join(slices)


def _in_utf8(body: bytes) -> bytes:
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body
    if encoding == "utf-8-sig":
        return body.removeprefix(codecs.BOM_UTF8)
    if len(body) > SLICE_BYTES:
        raise BadRequest("json is invalid: it is not in UTF-8, as RFC 8259 wants it; send it in UTF-8")
    return body.decode(encoding, "ignore").encode()


def what_is_wrong(body: bytes, error: Exception) -> str:
    """Why this is no JSON, in words."""
    if not body.strip():
        return "the body is empty"
    found = _AT.search(str(error))
    at = int(found.group(1)) if found is not None else len(body)
    if (word := _NO_NUMBER.match(body, max(0, at - 1)) or _NO_NUMBER.match(body, at)) is not None:
        # Python's json writes NaN and Infinity; "invalid character (byte 43)" would tell nobody what is meant.
        return f"JSON has no {word.group().decode()}, only finite numbers"
    return str(error)


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

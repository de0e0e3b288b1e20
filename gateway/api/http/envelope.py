"""Decode a body of `/run` or `/runsync` into an Envelope, for the handlers and the fast lane."""

from __future__ import annotations

import asyncio
import codecs
import json
import re

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
"""The lowest and highest value of each numeric query parameter."""

SLICE_BYTES = 500_000
"""Bytes of a large body that are scanned for lone surrogates at a time, in at most about 10 ms."""

_AT = re.compile(r"\(byte (\d+)\)")
_NO_NUMBER = re.compile(rb"NaN|-?Infinity")
"""A number that JSON does not have. The parser stops at its first byte, or after its sign."""
_decode = msgspec.json.Decoder(Envelope).decode


class _Text(msgspec.Struct):
    """The text inside `input`, whose length the limits count. Some clients send an `input` inside `input`."""

    text: str = ""
    input: msgspec.Raw | msgspec.UnsetType = UNSET


_decode_text = msgspec.json.Decoder(_Text).decode


def decode_envelope(body: bytes, *, repair: bool = True) -> Envelope:
    """Decode the envelope of `/run` and `/runsync`. The Content-Type does not matter.

    Args:
        repair: whether to try again with `repair_json` if the parser refuses the body.

    Raises:
        BadRequest: the body is not JSON, has no `input`, or has an envelope key of the wrong type.
    """
    try:
        try:
            envelope = _decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if not repair:
                raise
            envelope = _decode(repair_json(body))
    except msgspec.ValidationError as error:
        wrong = explain(error, Envelope)
        raise BadRequest(f'the request is invalid: {wrong}; send {{"input": {{"text": "..."}}}}') from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        wrong = json_problem(body, error)
        raise BadRequest(f'json is invalid: {wrong}; send {{"input": {{"text": "..."}}}}') from None
    if envelope.input is UNSET or bytes(envelope.input).strip() == b"null":
        raise BadRequest('input is missing; send {"input": {"text": "..."}}')
    return envelope


async def read_envelope(body: bytes) -> Envelope:
    """Do the same as `decode_envelope`, but repair a large body in slices, so that the event loop can run in between.

    Raises:
        BadRequest: see `decode_envelope`.
    """
    if len(body) <= SLICE_BYTES:
        return decode_envelope(body)
    try:
        return decode_envelope(body, repair=False)
    except BadRequest:
        return decode_envelope(await repair_json_in_slices(body), repair=False)


def repair_json(body: bytes) -> bytes:
    """Return JSON for a strict parser: in UTF-8, without a byte order mark and without lone surrogates.

    JavaScript sends a lone surrogate for half an emoji. It has no sound, so nothing is lost.
    """
    return without_lone_surrogates(_in_utf8(body))


async def repair_json_in_slices(body: bytes) -> bytes:
    """Do the same as `repair_json`, and let the event loop run after each slice."""
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
        raise BadRequest("json is invalid: it is not in UTF-8, which RFC 8259 requires; send it in UTF-8")
    return body.decode(encoding, "ignore").encode()


def json_problem(body: bytes, error: Exception) -> str:
    """Describe in words why a body is not JSON."""
    if not body.strip():
        return "the body is empty"
    found = _AT.search(str(error))
    at = int(found.group(1)) if found is not None else len(body)
    if (word := _NO_NUMBER.match(body, max(0, at - 1)) or _NO_NUMBER.match(body, at)) is not None:
        # Python's json writes NaN and Infinity. The parser's "invalid character (byte 43)" would not explain that.
        return f"JSON has no {word.group().decode()}, only finite numbers"
    return str(error)


def characters_of(raw_input: msgspec.Raw) -> int:
    """Count the characters of the text, for limits. 0 if the input is malformed; the job then reports the problem."""
    try:
        decoded = _decode_text(raw_input)
        if not decoded.text and decoded.input is not UNSET:
            decoded = _decode_text(decoded.input)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return len(decoded.text)


def out_of_range(name: str) -> str:
    """Word an error about a query parameter out of its range, as RunPod does."""
    low, high = RANGES[name]
    return f"{name} is invalid; must be between {low} and {high}"

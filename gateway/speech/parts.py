"""Reads a large JSON object key by key; only the value of one key may be large."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.errors import InvalidInput
from gateway.speech.text.surrogates import without_lone_surrogates

MAX_VALUE_BYTES = 100_000
"""Most bytes of JSON of a value other than the text. Decoding millions of empty lists would block the interpreter for
seconds."""

_MANY_KEYS = 10_000
_decode_each = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_STANDS_FOR: dict[bytes, Any] = {b"[": [], b"{": {}}


class Parts:
    """Splits objects with known keys into raw values.

    Args:
        known: the keys.
        text: the key whose value may have any length.
    """

    def __init__(self, known: Iterable[str], text: str) -> None:
        fields: list[Any] = [(name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for name in known]
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Parts", fields, forbid_unknown_fields=True)).decode
        self._text = text

    def read(self, raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
        """Return the value of each key as JSON, or only the first unknown key if there are very many; None if `raw` is
        no object.

        Raises:
            msgspec.DecodeError, RecursionError: `raw` is no JSON.
        """
        try:
            parts = self._decode(raw)
        except msgspec.ValidationError as error:
            _, unknown, rest = str(error).partition("unknown field `")
            if not unknown:
                msgspec.json.decode(raw, type=msgspec.Raw)  # raises if it is no JSON
                return None
            if bytes(raw).count(b'":') > _MANY_KEYS:  # decoding all keys would take seconds
                return {rest[:-1]: msgspec.Raw(b"true")}
            return _decode_each(raw)
        return {name: value for name in parts.__struct_fields__ if (value := getattr(parts, name)) is not msgspec.UNSET}

    def value(self, name: str, raw: msgspec.Raw) -> Any:
        """Decode one of the values; if the text is a large list or object, return an empty one.

        Raises:
            InvalidInput: the value is too large.
            msgspec.DecodeError, UnicodeDecodeError: the value is no JSON.
        """
        data = bytes(raw)
        if len(data) <= MAX_VALUE_BYTES:
            return msgspec.json.decode(data)
        if name != self._text:
            raise InvalidInput(f"{name} may have at most {MAX_VALUE_BYTES} bytes of JSON, got {len(data)}")
        if (stands := _STANDS_FOR.get(data[:1])) is not None:
            return stands
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(without_lone_surrogates(data))

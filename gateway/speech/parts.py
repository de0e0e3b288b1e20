"""A large JSON object, read key by key: only its text may be large."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.errors import InvalidInput
from gateway.speech.text.surrogates import without_lone_surrogates

MAX_VALUE_BYTES = 100_000
"""Most bytes of JSON that a value beside the text may have. Millions of empty lists are decoded in seconds, during
which the interpreter does nothing else."""

_MANY_KEYS = 10_000
_decode_each = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_STANDS_FOR: dict[bytes, Any] = {b"[": [], b"{": {}}


class Parts:
    """Reads objects with these keys.

    Args:
        known: the keys.
        text: the one of them whose value may be of any length.
    """

    def __init__(self, known: Iterable[str], text: str) -> None:
        fields: list[Any] = [(name, msgspec.Raw | msgspec.UnsetType, msgspec.UNSET) for name in known]
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Parts", fields, forbid_unknown_fields=True)).decode
        self._text = text

    def read(self, raw: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
        """The value of each key as JSON, the first unknown one alone where there are very many; None for no object.

        Raises:
            msgspec.DecodeError, RecursionError: no JSON.
        """
        try:
            parts = self._decode(raw)
        except msgspec.ValidationError as error:
            _, unknown, rest = str(error).partition("unknown field `")
            if not unknown:
                msgspec.json.decode(raw, type=msgspec.Raw)  # says what is wrong with it if it is no JSON at all
                return None
            if bytes(raw).count(b'":') > _MANY_KEYS:  # one look, where to read them all would take seconds
                return {rest[:-1]: msgspec.Raw(b"true")}
            return _decode_each(raw)
        return {name: value for name in parts.__struct_fields__ if (value := getattr(parts, name)) is not msgspec.UNSET}

    def value(self, name: str, raw: msgspec.Raw) -> Any:
        """What one of the values says; an empty list or object for a text that is a large one.

        Raises:
            InvalidInput: it is too large.
            msgspec.DecodeError, UnicodeDecodeError: no JSON.
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

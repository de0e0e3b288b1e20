"""Convert a value from text or TOML to the type of its setting."""

from __future__ import annotations

import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)
_UNITS = {"": 1} | {
    unit + suffix: base ** (power + 1)
    for suffix, base in (("", 1000), ("i", 1024))
    for power, unit in enumerate("kmgt")
}


class InvalidValue(Exception):
    """A value has the wrong type for its setting, or is out of range."""


class ValueSource(msgspec.Struct, frozen=True):
    """A value and its source. `is_text` is set where the source can hold only text, as the environment."""

    path: tuple[str, ...]
    origin: str
    value: Any
    is_text: bool = False


def convert(value: Any, annotation: Any, *, is_text: bool, is_size: bool) -> Any:
    """Convert a value to the type of its setting.

    Args:
        is_text: read text as the target type: `8000`, `yes`, `a,b`.
        is_size: text may be a size in bytes with a unit: `10GB`, `512 MiB`.

    Raises:
        InvalidValue: the value has the wrong type, or is out of range.
    """
    if isinstance(value, str):
        if is_size and (size := _SIZE.fullmatch(value)):
            value = int(float(size[1]) * _UNITS[(size[2] or "").lower()])
        elif is_text:
            value = _from_text(value.strip(), annotation)
    try:
        return msgspec.convert(value, annotation, strict=not is_text, dec_hook=_decode_path)
    except msgspec.ValidationError as error:
        raise InvalidValue(str(error)) from error


def from_json_text(text: Any) -> Any:
    """Return the JSON value if the text is JSON, or else the text itself."""
    if not isinstance(text, str):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _from_text(text: str, annotation: Any) -> Any:
    kind = _plain_type(annotation)
    if kind is bool:
        return _BOOLEANS.get(text.lower(), text)
    if kind in (tuple, list, frozenset, set):
        listed = from_json_text(text)
        return listed if isinstance(listed, list) else [item.strip() for item in text.split(",") if item.strip()]
    return from_json_text(text) if kind is dict else text


def _plain_type(annotation: Any) -> Any:
    """Return the plain type of an annotation: `tuple` for `Annotated[tuple[str, ...] | None, …]`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain_type(annotation.__origin__)
    if origin in (UnionType, Union):
        parts = [part for part in get_args(annotation) if part is not NoneType]
        return _plain_type(parts[0]) if len(parts) == 1 else None
    return origin or annotation


def _decode_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    raise ValueError("a path")

"""Decode a backend's table, `[backends.NAME]`, into its Struct."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from gateway.errors import SettingsError
from gateway.settings.nearest import nearest
from gateway.settings.origins import env_name, sibling
from gateway.settings.secrets import HIDDEN
from gateway.settings.values import InvalidValue, convert
from gateway.settings.words import in_words

T = TypeVar("T", bound=msgspec.Struct)


def decode_section(
    struct: type[T],
    raw: Mapping[str, Any],
    where: str,
    origins: Mapping[str, str] | None = None,
    *,
    secrets: bool = True,
) -> T:
    """Decode a table into its Struct. Text from the environment is converted to each field's type.

    Args:
        where: the table, `backends.hibari`.
        origins: the source of each value, by dotted path.
        secrets: whether a value may be a vendor's key.

    Raises:
        SettingsError: a key is unknown (the message names the nearest known one), of a wrong type, or missing. The
            value is shown as `***` if it may be a secret. A number, a switch or a choice is never a secret.
    """
    origins = origins or {}
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    refuse_unknown(raw, fields, where, origins)
    values: dict[str, Any] = {}
    for key, value in raw.items():
        field = fields[key]
        # A table that comes from variables holds text too.
        is_text = isinstance(value, str | dict)
        try:
            values[field.name] = convert(value, field.type, is_text=is_text, is_size=key.endswith("_bytes"))
        except InvalidValue as error:
            left_out = "; set it" if field.required else " (or leave it out)"
            origin = origin_of(key, where, origins)
            shown = HIDDEN if secrets and _may_be_secret(field.type) else repr(value)
            raise SettingsError(f"{origin} = {shown}: must be {in_words(field.type)}{left_out}") from error
    for name, field in fields.items():
        if field.required and field.name not in values:
            raise SettingsError(f"[{where}] {name} is required; set it, or {env_name(f'{where}.{name}')}")
    try:
        return struct(**values)
    except (ValueError, TypeError) as error:  # raised by the Struct's own `__post_init__`
        raise SettingsError(f"[{where}]: {error}") from error


def refuse_unknown(
    raw: Iterable[str], known: Iterable[str], where: str, origins: Mapping[str, str] | None = None
) -> None:
    """Refuse an unknown key.

    Raises:
        SettingsError: names the nearest known key, or all known keys.
    """
    known = list(known)
    for key in raw:
        if key not in known:
            raise SettingsError(unknown(origin_of(key, where, origins or {}), key, known))


def unknown(origin: str, key: str, known: Iterable[str]) -> str:
    """Write the message about an unknown key. The nearest known key is spelled as its source spells it."""
    known = list(known)
    meant = nearest(key, known)
    return f"{origin}: no such setting; " + (
        f"did you mean {sibling(origin, key, meant)}?"
        if meant
        else "known: " + (", ".join(sorted(known, key=str.lower)) or "none")
    )


def origin_of(key: str, where: str, origins: Mapping[str, str]) -> str:
    """Return the source of a key, or its table and name if the source is unknown."""
    return origins.get(f"{where}.{key}", f"[{where}] {key}")


def _may_be_secret(annotation: Any) -> bool:
    """Return whether a setting of this type may hold a secret, which is so if it can hold text."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _may_be_secret(annotation.__origin__)
    if origin in (UnionType, Union):
        return any(_may_be_secret(part) for part in get_args(annotation))
    is_choice = origin is Literal or (isinstance(annotation, type) and issubclass(annotation, Enum))
    return not is_choice and annotation not in (int, float, bool, NoneType)

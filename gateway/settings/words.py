"""Describe in words the values that a type allows, and the problem of a value that it does not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import msgspec
from msgspec import UNSET

from gateway.settings.nearest import nearest

_WORDS: Mapping[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    dict: "a table",
}
_PLURALS: Mapping[Any, str] = {int: "integers", float: "numbers", str: "names", Path: "paths"}
_JSON_KINDS = {"object": "an object", "array": "a list", "str": "text", "int": "an integer", "float": "a number"}
_LONGEST_SHOWN = 60
_BOUNDS = ("ge", "gt", "le", "min_length", "max_length")
_EXPECTED = re.compile(r"(Expected `[^`]+`|Number out of range)(?:, got `(?P<got>\w+)`)?")
_ENUM = re.compile(r"Invalid enum value (?P<got>.+)", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>.+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.+)`", re.DOTALL)

FaultKind: TypeAlias = Literal["missing", "unknown", "type", "value"]


class Fault(msgspec.Struct, frozen=True):
    """A value that its type does not allow.

    Args:
        field: the field at fault, `policy.ttl`; empty for the whole value.
        message: the field, its allowed values, and the value that came.
    """

    field: str
    kind: FaultKind
    message: str


def in_words(annotation: Any) -> str:
    """Describe the values that a type allows: "an integer between 0 and 65535", "one of mp3, wav".

    `words` in the `extra` of a `Meta` replaces the words for the type itself, and `note` is added at the end.
    """
    return " or ".join(dict.fromkeys(_kind(plain, metas) + _bounds(metas) for plain, metas in alternatives(annotation)))


def explain(error: msgspec.ValidationError, annotation: Any) -> str:
    """Describe a validation error in words; see `fault`."""
    return fault(error, annotation).message


def fault(error: msgspec.ValidationError, annotation: Any, value: Any = UNSET, noun: str = "key") -> Fault:
    """Find the field that a validation error is about, and describe the error in words.

    Args:
        annotation: the type that was decoded.
        value: the value that was decoded, to show what came; unset shows its kind only.
        noun: the name of a field here, for the message about an unknown one.
    """
    problem, _, path = str(error).partition(" - at `")
    field, annotation, value = _find(path.rstrip("`"), annotation, value)
    if found := _MISSING.fullmatch(problem):
        missing = _inside(annotation, found["field"])
        field = f"{field}.{found['field']}" if field else found["field"]
        return Fault(field, "missing", f"{field} is missing; it must be {in_words(missing)}")
    if found := _UNKNOWN.fullmatch(problem):
        unknown, known = found["field"], _fields(annotation)
        close = nearest(unknown, known)
        hint = f": did you mean {close!r}?" if close else "."
        inside = f" in {field}" if field else ""
        return Fault(
            f"{field}.{unknown}" if field else unknown,
            "unknown",
            f"unknown {noun} {_clipped(repr(unknown))}{inside}{hint} Known: {', '.join(known)}",
        )
    got = shown(value) if value is not UNSET else None
    if found := _ENUM.fullmatch(problem):
        hint = meant(found["got"].strip("'"), choices(annotation))
        got = got or _clipped(found["got"])
        return Fault(field, "value", f"{field or 'it'} must be {in_words(annotation)}, got {got}{hint}")
    if found := _EXPECTED.match(problem):
        kind = found["got"]
        got = got or _JSON_KINDS.get(kind, kind)
        allowed = in_words(annotation)
        if not kind:  # the kind is right
            bounds = (_bounds(metas).strip() for _, metas in alternatives(annotation))
            allowed = next((each for each in bounds if each.startswith("between")), allowed)
        came = f", got {got}" if got else ""
        return Fault(field, "type" if kind else "value", f"{field or 'it'} must be {allowed}{came}")
    return Fault(field, "value", f"{field}: {problem}" if field else problem)


def meant(name: str, known: Any) -> str:
    """Return `, did you mean 'tone'?`, or an empty string if no known name is similar."""
    close = nearest(name, known)
    return f", did you mean {close!r}?" if close else ""


def shown(value: Any) -> str:
    """Return a value as JSON, cut to a short length; of an object or a list only its kind."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    return _clipped(json.dumps(value, default=repr))


def choices(annotation: Any) -> list[str]:
    """Return the values of a Literal; empty for other types."""
    return [
        str(value) or '""'
        for plain, _ in alternatives(annotation)
        if get_origin(plain) is Literal
        for value in get_args(plain)
    ]


def alternatives(annotation: Any) -> list[tuple[Any, list[msgspec.Meta]]]:
    """Return the members of a union without null and unset, each with its bounds; the type itself if it is no union."""
    if get_origin(annotation) is Annotated:
        metas = [meta for meta in annotation.__metadata__ if isinstance(meta, msgspec.Meta)]
        return [(plain, [*inner, *metas]) for plain, inner in alternatives(annotation.__origin__)]
    if get_origin(annotation) in (UnionType, Union):
        parts = [part for part in get_args(annotation) if part not in (NoneType, msgspec.UnsetType)]
        return [each for part in parts for each in alternatives(part)]
    return [(annotation, [])]


def _kind(plain: Any, metas: list[msgspec.Meta]) -> str:
    if words := [str(meta.extra["words"]) for meta in metas if meta.extra and "words" in meta.extra]:
        return words[-1]
    origin = get_origin(plain) or plain
    if origin is Literal:
        return "one of " + ", ".join(choices(plain))
    if origin in (tuple, list, set, frozenset):
        return f"a list of {_plural(get_args(plain))}"
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
        return "an object"
    return _WORDS.get(origin, "a value")


def _plural(items: tuple[Any, ...]) -> str:
    item = items[0] if items else str
    if names := choices(item):
        return f"names out of {', '.join(names)}"
    return _PLURALS.get(item, "values")


def _bounds(metas: list[msgspec.Meta]) -> str:
    found = {name: bound for meta in metas for name in _BOUNDS if (bound := getattr(meta, name)) is not None}
    note = "".join(f" {meta.extra['note']}" for meta in metas if meta.extra and "note" in meta.extra)
    match found:
        case {"max_length": most}:
            words = f" of at most {most} characters"
        case {"min_length": least}:
            words = " that is not empty" if least == 1 else f" of at least {least} characters"
        case {"gt": low}:
            words = f" above {low}" + (f" and at most {found['le']}" if "le" in found else "")
        case {"ge": low, "le": high}:
            words = f" between {low} and {high}"
        case {"le": high}:
            words = f" of at most {high}"
        case {"ge": low}:
            words = f" of at least {low}"
        case _:
            words = ""
    return words + note


def _find(path: str, annotation: Any, value: Any) -> tuple[str, Any, Any]:
    """Return the field that a JSON path leads to, its type and value: `$.policy.ttl` is the field `policy.ttl`."""
    field = path.removeprefix("$").lstrip(".")
    for step in filter(None, re.split(r"[.\[]", field)):
        step = step.rstrip("]")
        annotation = _inside(annotation, step)
        if isinstance(value, dict):
            value = value.get(step, UNSET)
        else:
            value = value[int(step)] if isinstance(value, list) and step.isdigit() else UNSET
    return field.replace("[...]", ""), annotation, value


def _inside(annotation: Any, step: str) -> Any:
    for plain, _ in alternatives(annotation):
        if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
            found = [field.type for field in msgspec.structs.fields(plain) if field.encode_name == step]
            if found:
                return found[0]
        elif get_origin(plain) in (tuple, list, set, frozenset):
            return get_args(plain)[0]
    return Any


def _fields(annotation: Any) -> list[str]:
    for plain, _ in alternatives(annotation):
        if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
            return [field.encode_name for field in msgspec.structs.fields(plain)]
    return []


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."

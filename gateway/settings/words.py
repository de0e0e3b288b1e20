"""Describe in words the values that a type allows, and the problem of a value that it does not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

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
_EXPECTED = re.compile(r"Expected `[^`]+`(?:, got `(?P<got>\w+)`)?")
_ENUM = re.compile(r"Invalid enum value (?P<got>.+)", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>.+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.+)`", re.DOTALL)


def in_words(annotation: Any) -> str:
    """Describe the values that a type allows: "an integer from 0 to 65535", "one of mp3, wav"."""
    bounds: list[msgspec.Meta] = []
    if get_origin(annotation) is Annotated:
        bounds = list(annotation.__metadata__)
        annotation = annotation.__origin__
    for meta in bounds:
        if meta.extra and "words" in meta.extra:
            return str(meta.extra["words"])
    parts = _alternatives(annotation)
    if len(parts) > 1 or parts[0] is not annotation:
        return " or ".join(dict.fromkeys(in_words(part) for part in parts))
    origin = get_origin(annotation) or annotation
    if origin is Literal:
        return "one of " + ", ".join(_named(value) for value in get_args(annotation))
    if origin in (tuple, list, set, frozenset):
        return f"a list of {_plural(get_args(annotation))}"
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
        return "an object"
    return _WORDS.get(origin, "a value") + "".join(_bound_in_words(meta) for meta in bounds)


def explain(error: msgspec.ValidationError, annotation: Any) -> str:
    """Describe a validation error in words: the field, its allowed values, and the value that came.

    Args:
        annotation: the type that was decoded.
    """
    problem, _, path = str(error).partition(" - at `")
    where, annotation = _find(path.rstrip("`"), annotation)
    if found := _MISSING.fullmatch(problem):
        return f"{_dotted(where, found['field'])} is missing"
    if found := _UNKNOWN.fullmatch(problem):
        known = _fields(annotation)
        shown = found["field"] if len(found["field"]) <= _LONGEST_SHOWN else f"{found['field'][:_LONGEST_SHOWN]}..."
        return f"{_dotted(where, shown)} is unknown{meant(found['field'], known)}; known: {', '.join(known)}"
    if found := _ENUM.fullmatch(problem):
        given = found["got"].strip("'")
        shown = found["got"] if len(given) <= _LONGEST_SHOWN else f"{found['got'][:_LONGEST_SHOWN]}..."
        return f"{where or 'it'} must be {in_words(annotation)}, got {shown}{meant(given, _choices(annotation))}"
    if found := _EXPECTED.match(problem):
        got = found["got"]
        came = f", got {_JSON_KINDS.get(got, got)}" if got else ""
        return f"{where or 'it'} must be {in_words(annotation)}{came}"
    return f"{where}: {problem}" if where else problem


def meant(name: str, known: Any) -> str:
    """Return `, did you mean 'tone'?`, or an empty string if no known name is similar."""
    close = nearest(name, known)
    return f", did you mean {close!r}?" if close else ""


def shown(value: Any) -> str:
    """Return a value as JSON, cut to a short length."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def _alternatives(annotation: Any) -> list[Any]:
    """Return the members of a union without null and unset; the type itself if it is no union."""
    if get_origin(annotation) not in (UnionType, Union):
        return [annotation]
    return [part for part in get_args(annotation) if part not in (NoneType, msgspec.UnsetType)]


def _plural(items: tuple[Any, ...]) -> str:
    item = items[0] if items else str
    if choices := _choices(item):
        return f"names out of {', '.join(choices)}"
    return _PLURALS.get(item, "values")


def _named(value: object) -> str:
    return str(value) or '""'


def _choices(annotation: Any) -> list[str]:
    """Return the values of a Literal; empty for other types."""
    if get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    literals = [part for part in _alternatives(annotation) if get_origin(part) is Literal]
    return [_named(value) for literal in literals for value in get_args(literal)]


def _bound_in_words(meta: msgspec.Meta) -> str:
    if meta.min_length is not None:
        return " that is not empty" if meta.min_length == 1 else f" of at least {meta.min_length} characters"
    if meta.gt is not None:
        return f" above {meta.gt}" + (f" and at most {meta.le}" if meta.le is not None else "")
    if meta.le is not None:
        return f" from {meta.ge} to {meta.le}" if meta.ge is not None else f" of at most {meta.le}"
    return f" of at least {meta.ge}" if meta.ge is not None else ""


def _find(path: str, annotation: Any) -> tuple[str, Any]:
    """Return the field that a JSON path leads to, and its type: `$.policy.ttl` is the field `policy.ttl`."""
    where = path.removeprefix("$").lstrip(".")
    for step in filter(None, re.split(r"[.\[]", where)):
        annotation = _inside(annotation, step.rstrip("]"))
    return where.replace("[...]", ""), annotation


def _inside(annotation: Any, step: str) -> Any:
    if get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    for part in _alternatives(annotation):
        plain = part.__origin__ if get_origin(part) is Annotated else part
        if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
            found = [field.type for field in msgspec.structs.fields(plain) if field.encode_name == step]
            if found:
                return found[0]
        elif get_origin(plain) in (tuple, list, set, frozenset):
            return get_args(plain)[0]
    return Any


def _fields(annotation: Any) -> list[str]:
    for part in _alternatives(annotation):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return [field.encode_name for field in msgspec.structs.fields(part)]
    return []


def _dotted(where: str, field: str) -> str:
    return f"{where}.{field}" if where else field

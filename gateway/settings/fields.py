"""The settings as a flat list: path, type, default, description. Loading and documentation both read it."""

from __future__ import annotations

import functools
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from gateway.settings.model import EndpointSettings, Settings

ENV_PREFIX = "VOXGATE_"
NESTING = "__"

OPEN_TABLES = ("backends", "endpoints")
"""Tables whose keys the operator chooses."""


class SettingDoc(msgspec.Struct, frozen=True):
    """One setting, as the documentation and the loader see it.

    Args:
        name: dotted path in voxgate.toml, `jobs.lease_s`; `endpoints.ID.voice` inside an open table.
        env: its environment variable.
        type: what it may be, in words, "an integer from 0 to 65535".
        default: as one would write it in TOML; empty if there is none.
        alias: the variable of the Chatterbox guide that means the same, if any.
        secret: its value is never printed.
        annotation: the Python type, for the loader.
    """

    name: str
    env: str
    type: str
    default: str
    description: str
    alias: str | None = None
    secret: bool = False
    annotation: Any = None


def env_name(path: str) -> str:
    """`jobs.lease_s` -> `VOXGATE_JOBS__LEASE_S`."""
    return ENV_PREFIX + path.replace(".", NESTING).upper()


@functools.cache
def describe() -> tuple[SettingDoc, ...]:
    """Every setting, in the order of the Structs; tables of the operator's own names end in `NAME` or `ID`."""
    return tuple(_walk(Settings, ""))


@functools.cache
def endpoint_fields() -> dict[str, SettingDoc]:
    """The settings of one `[endpoints.ID]`, by their own name."""
    return {doc.name.rpartition(".")[2]: doc for doc in describe() if doc.name.startswith("endpoints.")}


@functools.cache
def plain_fields() -> dict[str, SettingDoc]:
    """Every setting outside the open tables, by its dotted path."""
    return {doc.name: doc for doc in describe() if not doc.name.startswith(OPEN_TABLES)}


def _walk(struct: type[msgspec.Struct], prefix: str) -> list[SettingDoc]:
    hints = get_type_hints(struct, include_extras=True)
    docs: list[SettingDoc] = []
    for field in msgspec.structs.fields(struct):
        path = f"{prefix}{field.name}"
        annotation, description, extra = _unwrap(hints[field.name])
        if path == "endpoints":
            docs += _walk(EndpointSettings, "endpoints.ID.")
        elif path == "backends":
            docs.append(
                SettingDoc(
                    "backends.NAME.KEY", f"{ENV_PREFIX}BACKENDS__NAME__KEY", "as the backend says", "", description
                )
            )
        elif isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
            docs += _walk(annotation, f"{path}.")
        else:
            default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            docs.append(
                SettingDoc(
                    name=path,
                    env=env_name(path),
                    type=extra.get("words") or in_words(annotation),
                    default=_as_toml(default),
                    description=description,
                    alias=extra.get("alias"),
                    secret=bool(extra.get("secret")),
                    annotation=annotation,
                )
            )
    return docs


def _unwrap(hint: Any) -> tuple[Any, str, dict[str, Any]]:
    """The type inside the outermost description, that description, and its extras.

    `Annotated` flattens when nested, so a described number carries its bounds and its description side by side.
    """
    if get_origin(hint) is not Annotated:
        return hint, "", {}
    description = ""
    extra: dict[str, Any] = {}
    bounds = []
    for meta in hint.__metadata__:
        if meta.description is not None:
            description, extra = meta.description, meta.extra or {}
        else:
            bounds.append(meta)
    inner = hint.__origin__
    for meta in bounds:
        inner = Annotated[inner, meta]
    return inner, description, extra


def in_words(annotation: Any) -> str:
    """What a value of this type may be, for an error message: "an integer from 0 to 65535"."""
    bounds: list[msgspec.Meta] = []
    if get_origin(annotation) is Annotated:
        bounds = list(annotation.__metadata__)
        annotation = annotation.__origin__
    origin = get_origin(annotation)
    if origin in (UnionType, Union):
        return " or ".join(in_words(part) for part in get_args(annotation) if part is not NoneType)
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in get_args(annotation))
    if origin is tuple:
        return "a list of names, separated by commas"
    if origin is dict:
        return "a table"
    words = {int: "an integer", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    return words.get(annotation, "a value") + "".join(_bound_in_words(meta, annotation) for meta in bounds)


def _bound_in_words(meta: msgspec.Meta, annotation: Any) -> str:
    if meta.min_length is not None:
        return " that is not empty" if meta.min_length == 1 else f" of at least {meta.min_length} characters"
    if meta.gt is not None:
        return f" above {meta.gt}"
    if meta.le is not None:
        return f" from {meta.ge} to {meta.le}"
    return f" of at least {meta.ge}" if meta.ge is not None else ""


def _as_toml(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Path):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_as_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{}"
    return msgspec.json.encode(value).decode()

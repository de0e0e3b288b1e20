"""A flat list of the settings with path, type, default and description, for loading and documentation."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any, get_origin, get_type_hints

import msgspec

from gateway.settings.model import EndpointSettings, Settings
from gateway.settings.origins import ENV_PREFIX, env_name
from gateway.settings.words import in_words

OPEN_TABLES = ("backends", "endpoints")
"""Tables whose keys the operator chooses."""


class SettingDoc(msgspec.Struct, frozen=True):
    """One setting, as the documentation and the loader see it.

    Args:
        name: dotted path in voxgate.toml, `jobs.lease_s`; `endpoints.ID.voice` inside an open table.
        env: its environment variable.
        type: the allowed values in words, "an integer from 0 to 65535".
        default: written as in TOML; empty if there is none.
        alias: the variable of the Chatterbox guide that sets it too, if any.
        secret: whether its value must never be printed.
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


@functools.cache
def describe() -> tuple[SettingDoc, ...]:
    """Return every setting in the order of the Structs. `NAME` or `ID` stands for a key that the operator chooses."""
    return tuple(_walk(Settings, ""))


@functools.cache
def endpoint_fields() -> dict[str, SettingDoc]:
    """Return the settings of one `[endpoints.ID]`, by their key."""
    return {doc.name.rpartition(".")[2]: doc for doc in describe() if doc.name.startswith("endpoints.")}


@functools.cache
def plain_fields() -> dict[str, SettingDoc]:
    """Return every setting outside the open tables, by its dotted path."""
    return {doc.name: doc for doc in describe() if not doc.name.startswith(OPEN_TABLES)}


def _walk(struct: type[msgspec.Struct], prefix: str) -> list[SettingDoc]:
    hints = get_type_hints(struct, include_extras=True)
    docs: list[SettingDoc] = []
    for field in msgspec.structs.fields(struct):
        if field.name == "origins":
            continue  # not a setting: it records where each one was set
        path = f"{prefix}{field.name}"
        annotation, description, extra = _unwrap(hints[field.name])
        if path == "endpoints":
            docs += _walk(EndpointSettings, "endpoints.ID.")
        elif path == "backends":
            docs.append(
                SettingDoc(
                    "backends.NAME.KEY", f"{ENV_PREFIX}BACKENDS__NAME__KEY", "as the backend defines", "", description
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
                    type=_in_words(annotation),
                    default=_as_toml(default),
                    description=description,
                    alias=extra.get("alias"),
                    secret=bool(extra.get("secret")),
                    annotation=annotation,
                )
            )
    return docs


def _unwrap(hint: Any) -> tuple[Any, str, dict[str, Any]]:
    """Split an annotation into its type with bounds, its description, and its extras.

    Nested `Annotated` types are flattened by Python, so bounds and description stand in one list.
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


def _in_words(annotation: Any) -> str:
    words = in_words(annotation)
    return f"{words}, separated by commas" if words.startswith("a list") else words


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

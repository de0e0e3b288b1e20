"""From the raw mapping `[backends.NAME]` to the plugin's settings and the host's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from backends.interface import Backend
from gateway.engines.names import nearest
from gateway.engines.scale import HostSettings
from gateway.errors import SettingsError


def configure(backend: type[Backend], raw: Mapping[str, Any]) -> tuple[Any, HostSettings]:
    """Decode the settings of one backend; values from the environment may be strings.

    Raises:
        SettingsError: an unknown key, a wrong type or a value out of range.
    """
    hosts, plugins = _fields(HostSettings), _fields(backend.Settings)
    for key in raw:
        if key not in hosts and key not in plugins:
            raise SettingsError(
                f"[backends.{backend.name}] {key} = {raw[key]!r}: no such setting{nearest(key, [*plugins, *hosts])}"
                f"; known: {', '.join([*plugins, *hosts])}"
            )
    settings = _decode(backend.name, {key: value for key, value in raw.items() if key in plugins}, backend.Settings)
    host = _decode(
        backend.name, {key: value for key, value in raw.items() if key in hosts and key not in plugins}, HostSettings
    )
    return settings, host


def _fields(settings: type[msgspec.Struct]) -> dict[str, None]:
    return {field.encode_name: None for field in msgspec.structs.fields(settings)}


def _decode(name: str, raw: Mapping[str, Any], settings: type[msgspec.Struct]) -> Any:
    try:
        return msgspec.convert(raw, settings, strict=False)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        key = path.rstrip("`")
        value = f"{key} = {raw[key]!r}: " if key in raw else ""
        raise SettingsError(f"[backends.{name}] {value}{problem}") from error

"""Decodes the section `[backends.NAME]` into the plugin's settings and the host's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from backends.interface import Backend
from gateway.engines.scale import HostSettings
from gateway.settings import decode_section
from gateway.settings.section import refuse_unknown


def configure(
    backend: type[Backend], raw: Mapping[str, Any], origins: Mapping[str, str] | None = None
) -> tuple[Any, HostSettings]:
    """Decode the settings of one backend; values from the environment are text.

    Args:
        origins: the origin of each setting, by dotted path.

    Raises:
        SettingsError: an unknown key, a wrong type or a value out of range.
    """
    where = f"backends.{backend.name}"
    plugins = {field.encode_name for field in msgspec.structs.fields(backend.Settings)}
    hosts = {field.encode_name for field in msgspec.structs.fields(HostSettings)} - plugins
    refuse_unknown(raw, plugins | hosts, where, origins)
    own = {key: value for key, value in raw.items() if key in plugins}
    host = {key: value for key, value in raw.items() if key in hosts}
    return (
        decode_section(backend.Settings, own, where, origins),
        decode_section(HostSettings, host, where, origins, secrets=False),
    )

"""The number of workers of a backend, and their time limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import msgspec

from backends.interface import Capabilities
from gateway.errors import SettingsError
from gateway.settings.model import Device
from gateway.settings.origins import instead
from gateway.settings.section import origin_of

_Count = Annotated[int, msgspec.Meta(ge=0, le=256)]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]


class HostSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `[backends.NAME]` that are the host's, beside the plugin's own.

    Args:
        placement: where the backend runs, `process` or `inline`; absent means the place its capabilities name.
        device: `auto`, `cpu`, `cuda`, `cuda:N`, `mps`; absent means the gateway's DEVICE.
        workers: short for `max_workers`; absent means the backend's `workers` capability.
        min_workers: workers kept loaded while the gateway runs; 0 loads on the first request and gives all memory back.
        max_workers: the highest number of workers at a time.
        idle_timeout_s: a worker above `min_workers` that was idle for this time is stopped.
        chunk_timeout_s: a worker that holds chunks and sent no message for this time is killed.
        load_timeout_s: the same while it loads; progress reports are messages.
        cancel_grace_s: a worker that did not drop a cancelled chunk within this time is killed.
        take_checks: check takes, and speak flawed ones again; absent means the backend's `checks` capability.
    """

    placement: str | None = None
    device: Device | None = None
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] | None = None
    min_workers: _Count | None = None
    max_workers: Annotated[int, msgspec.Meta(ge=1, le=256)] | None = None
    idle_timeout_s: _Seconds = 120.0
    chunk_timeout_s: _Seconds = 120.0
    load_timeout_s: _Seconds = 900.0
    cancel_grace_s: _Seconds = 2.0
    take_checks: bool | None = None


class Scale(msgspec.Struct, frozen=True):
    """The limits of one host; see HostSettings. `restart_s` is the first pause after a crash, doubled up to 30 s."""

    min_workers: int
    max_workers: int
    idle_timeout_s: float = 120.0
    chunk_timeout_s: float = 120.0
    load_timeout_s: float = 900.0
    cancel_grace_s: float = 2.0
    restart_s: float = 0.5


def cores() -> int:
    """Count the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def scale_of(
    name: str, settings: HostSettings, capabilities: Capabilities, origins: Mapping[str, str] | None = None
) -> Scale:
    """Build the scale of a backend from its section and its capabilities.

    Args:
        origins: the origin of each setting, by dotted path.

    Raises:
        SettingsError: `max_workers` is above the backend's `most_workers`, or `min_workers` is above `max_workers`.
    """
    at = partial(origin_of, where=f"backends.{name}", origins=origins or {})
    host = capabilities.host
    key = "max_workers" if settings.max_workers else "workers"
    asked = settings.max_workers or settings.workers
    limit = capabilities.most_workers
    if asked and limit is not None and asked > limit:
        raise SettingsError(
            f"{at(key)} = {asked}: more than the {limit} that one device can feed; set {instead(at(key), limit)}, or "
            "leave it out"
        )
    most = asked or capabilities.workers or cores()
    if limit is not None:
        most = min(most, limit)
    if host == "inline":
        most = 1
    least = min(1, most) if settings.min_workers is None else settings.min_workers
    if least > most:
        origin = at("min_workers")
        cure = f"set {instead(origin, most)} or less"
        if host == "inline" or most == limit:
            why = f"{name} can have {most} at most"
        elif asked:
            why, cure = f"more than {at(key)} = {most} allows", f"{cure}, or raise {at(key)}"
        else:
            why, cure = f"more than the {most} it has without max_workers", f"{cure}, or set max_workers"
        raise SettingsError(f"{origin} = {least}: {why}; {cure}")
    return Scale(
        least, most, settings.idle_timeout_s, settings.chunk_timeout_s, settings.load_timeout_s, settings.cancel_grace_s
    )

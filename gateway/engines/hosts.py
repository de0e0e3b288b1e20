"""The hosts, by name: the places where backends run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from backends.interface import Capabilities
from gateway.clock import Clock
from gateway.engines.dsp import Dsp
from gateway.engines.inline import InlineWorker
from gateway.engines.process import MakeWorker, ProcessWorker
from gateway.engines.scale import HostSettings
from gateway.engines.worker import WorkerSpec
from gateway.errors import SettingsError
from gateway.settings.origins import instead
from gateway.settings.section import origin_of


class HostKind(msgspec.Struct, frozen=True):
    """A kind of host.

    Args:
        runs: the backends it can run, by `Capabilities.host`.
        workers: returns the function that makes its workers.
    """

    runs: str
    workers: Callable[[WorkerSpec, Dsp, Clock], MakeWorker]


HOSTS: Mapping[str, HostKind] = {
    "process": HostKind("process", lambda spec, dsp, clock: partial(ProcessWorker, spec)),
    "inline": HostKind("inline", lambda spec, dsp, clock: partial(InlineWorker, spec, dsp, clock)),
}
"""Every kind, by the name that `placement` has for it."""


def host_of(
    name: str, settings: HostSettings, capabilities: Capabilities, origins: Mapping[str, str] | None = None
) -> HostKind:
    """Return the host that a backend runs in: the one its settings name, else the one its capabilities name.

    Raises:
        SettingsError: that host cannot run the backend.
    """
    chosen = settings.placement or capabilities.host
    kind = HOSTS.get(chosen)
    if kind is None or kind.runs != capabilities.host:
        fitting = [each for each, known in HOSTS.items() if known.runs == capabilities.host]
        origin = origin_of("placement", where=f"backends.{name}", origins=origins or {})
        raise SettingsError(
            f"{origin} = {chosen!r}: {name} runs as {' or '.join(map(repr, fitting))} only; "
            f"set {instead(origin, fitting[0])}, or leave it out"
        )
    return kind

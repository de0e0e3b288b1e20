"""The backends of this gateway: finds the installed ones, and builds a host for each that may load."""

from __future__ import annotations

import asyncio
import importlib.metadata as metadata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from backends.interface import Backend, BackendContext, BackendUnavailable, Capabilities, LoadMaterial, Voice
from gateway.clock import Clock
from gateway.engines.configure import configure
from gateway.engines.discovery import BackendInfo, FoundBackend, discover, load_class
from gateway.engines.dsp import Dsp
from gateway.engines.host import Host
from gateway.engines.hosts import host_of
from gateway.engines.order import Post
from gateway.engines.scale import HostSettings, Scale, cores, scale_of
from gateway.engines.worker import WorkerSpec
from gateway.errors import SettingsError
from gateway.settings.words import meant


class EngineSettings(Protocol):
    """The part of the gateway's settings that engines need."""

    @property
    def plugins(self) -> tuple[str, ...] | None:
        """The backends that may load; None for all but the ones for tests."""

    @property
    def backends(self) -> Mapping[str, Mapping[str, Any]]:
        """The sections `[backends.NAME]`, not decoded."""

    @property
    def origins(self) -> Mapping[str, str]:
        """The origin of each value, by dotted path."""

    @property
    def models_dir(self) -> Path:
        """The folder of downloaded models."""

    @property
    def device(self) -> str:
        """The device engines compute on unless the backend's section names another."""

    @property
    def hf_token(self) -> str | None:
        """The token for the model hub."""


class HostedBackend(msgspec.Struct, frozen=True):
    """A backend that may speak: its capabilities, voices and revision, and its host.

    Args:
        options_type: its `RequestOptions`.
        scale: number of workers of its host, and their time limits.
    """

    name: str
    capabilities: Capabilities
    revision: str
    options_type: type[msgspec.Struct]
    scale: Scale
    host: Host

    @property
    def voices(self) -> tuple[Voice, ...]:
        """The voices it announces; after loading, those its engine tells."""
        return self.host.voices


def unregistered(name: str, known: Iterable[str]) -> str:
    """Describe the error of a backend's name that no installed package registers."""
    known = sorted(known)
    listed = ", ".join(known) or "none"
    return f"no installed package registers the backend {name!r}{meant(name, known)}; known: {listed}"


class Engines:
    """The backends of a gateway.

    The constructor imports the backends that may load and asks for their capabilities; `start` loads engines.

    Args:
        post: finishes each take in its worker; a module-level function.
        entry_points: the entry points to look at; default is those of all installed packages.
        load_material: finds the recordings of voices, in any process.

    Attributes:
        infos: all registered backends, including those that cannot be used.

    Raises:
        SettingsError: the settings name an unknown backend or are wrong for one.
    """

    def __init__(
        self,
        settings: EngineSettings,
        post: Post,
        clock: Clock,
        entry_points: Iterable[metadata.EntryPoint] | None = None,
        load_material: LoadMaterial | None = None,
    ) -> None:
        self._load_material = load_material
        self._settings = settings
        self._post = post
        self._clock = clock
        self.dsp = Dsp(clock=clock)
        self._hosted: dict[str, HostedBackend] = {}
        origins = settings.origins
        candidates = discover(settings.plugins, entry_points, origins.get("plugins", "VOXGATE_PLUGINS"))
        known = [candidate.info.name for candidate in candidates]
        for name in settings.backends:
            if name not in known:
                where = next((origins[path] for path in origins if path.startswith(f"backends.{name}.")), "")
                raise SettingsError(f"{where or f'[backends.{name}]'}: {unregistered(name, known)}")
        self.infos = tuple(self._admit(candidate) for candidate in candidates)

    def get(self, name: str) -> HostedBackend | None:
        """Return a backend that may speak; None if there is none of that name."""
        return self._hosted.get(name)

    def __iter__(self) -> Iterator[HostedBackend]:
        return iter(self._hosted.values())

    def __len__(self) -> int:
        return len(self._hosted)

    def start(self) -> None:
        """Load `min_workers` of every backend, in the background."""
        for backend in self:
            backend.host.start()

    async def stop(self, grace_s: float) -> None:
        """Stop all hosts at the same time; running chunks may end within the grace."""
        await asyncio.gather(*(backend.host.stop(grace_s) for backend in self))
        await self.dsp.stop()

    def _admit(self, candidate: FoundBackend) -> BackendInfo:
        info = candidate.info
        if info.state == "missing" and info.enabled:
            return msgspec.structs.replace(info, capabilities=self._capabilities(candidate))
        if info.state != "found" or not info.enabled:
            return info
        try:
            backend = load_class(candidate.entry_point)
            self._hosted[info.name] = self._host(backend)
        except SettingsError:
            raise
        except BackendUnavailable as error:
            return msgspec.structs.replace(
                info, state="missing", error=error.reason, cure=error.cure, capabilities=self._capabilities(candidate)
            )
        except Exception as error:  # noqa: BLE001 - a broken plugin is listed and does not stop the gateway
            return msgspec.structs.replace(
                info,
                state="broken",
                error=f"{type(error).__name__}: {error}",
                cure=f"pip install -U {info.distribution}",
            )
        return info

    def _capabilities(self, candidate: FoundBackend) -> Capabilities | None:
        """Return the capabilities of a backend that lacks something; None if it cannot tell them without that."""
        try:
            backend = load_class(candidate.entry_point)
            raw = self._settings.backends.get(backend.name, {})
            own, host = configure(backend, raw, self._settings.origins)
            return backend(own, self._context(host, 1)).capabilities()
        except Exception:  # noqa: BLE001 - the backend cannot run, and its capabilities are optional
            return None

    def _host(self, backend: type[Backend]) -> HostedBackend:
        own, host_settings = configure(backend, self._settings.backends.get(backend.name, {}), self._settings.origins)
        asked = backend(own, self._context(host_settings, cores()))
        capabilities = asked.capabilities()
        if host_settings.take_checks is not None:
            capabilities = msgspec.structs.replace(capabilities, checks=host_settings.take_checks)
        kind = host_of(backend.name, host_settings, capabilities, self._settings.origins)
        scale = scale_of(backend.name, host_settings, capabilities, self._settings.origins)
        context = self._context(host_settings, max(1, cores() // scale.max_workers))
        beat_s = min(5.0, scale.chunk_timeout_s / 4)
        spec = WorkerSpec(backend, own, context, self._post, beat_s, self._load_material)
        revision, voices = asked.revision(), asked.voices()
        if not voices:
            raise TypeError("it has no voices")
        make = kind.workers(spec, self.dsp, self._clock)
        host = Host(backend.name, revision, capabilities.concurrency, scale, make, self._clock)
        host.voices = voices
        return HostedBackend(backend.name, capabilities, revision, backend.RequestOptions, scale, host)

    def _context(self, host: HostSettings, threads: int) -> BackendContext:
        settings = self._settings
        device = host.device or settings.device
        return BackendContext(settings.models_dir, device, threads, settings.hf_token)

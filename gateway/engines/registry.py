"""All backends of this gateway: what is installed, what may load, and the host of each."""

from __future__ import annotations

import asyncio
import importlib.metadata as metadata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from backends.interface import Backend, BackendContext, BackendUnavailable, Capabilities, Voice
from gateway.clock import Clock
from gateway.engines.configure import configure
from gateway.engines.discovery import BackendInfo, FoundBackend, discover, load_class
from gateway.engines.dsp import Dsp
from gateway.engines.host import Host
from gateway.engines.inline import InlineWorker
from gateway.engines.order import Post
from gateway.engines.process import MakeWorker, OnExit, OnMessage, ProcessWorker, Worker
from gateway.engines.scale import HostSettings, Scale, cores, scale_of
from gateway.engines.worker import Spec
from gateway.errors import SettingsError
from gateway.settings.words import meant


class EngineSettings(Protocol):
    """The part of the gateway's settings that engines need."""

    @property
    def plugins(self) -> tuple[str, ...] | None:
        """Exactly these backends may load."""

    @property
    def backends(self) -> Mapping[str, Mapping[str, Any]]:
        """`[backends.NAME]`, as written."""

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each value was set, by dotted path."""

    @property
    def models_dir(self) -> Path:
        """Where downloaded models are kept."""

    @property
    def device(self) -> str:
        """Where engines compute unless a backend says otherwise."""

    @property
    def hf_token(self) -> str | None:
        """For the model hub."""


class HostedBackend(msgspec.Struct, frozen=True):
    """A backend that may speak: what it said about itself, and its host.

    Args:
        options_type: its `RequestOptions`.
        scale: how many workers its host runs, and its time limits.
    """

    name: str
    capabilities: Capabilities
    voices: tuple[Voice, ...]
    revision: str
    options_type: type[msgspec.Struct]
    scale: Scale
    host: Host


def unregistered(name: str, known: Iterable[str]) -> str:
    """What is wrong with a backend's name that no installed package registers."""
    known = sorted(known)
    listed = ", ".join(known) or "none"
    return f"no installed package registers the backend {name!r}{meant(name, known)}; known: {listed}"


class Engines:
    """The backends of a gateway.

    Building one imports the backends that may load and asks them what they are; `start` loads engines.

    Args:
        post: what is done with each take where it was spoken; a module-level function.
        entry_points: where to look for backends; default is what is installed.

    Attributes:
        infos: every registered backend, usable or not.

    Raises:
        SettingsError: the settings name an unknown backend or are wrong for one.
    """

    def __init__(
        self,
        settings: EngineSettings,
        post: Post,
        clock: Clock,
        entry_points: Iterable[metadata.EntryPoint] | None = None,
    ) -> None:
        self._settings = settings
        self._post = post
        self._clock = clock
        self.dsp = Dsp()
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
        """A backend that may speak."""
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
        """Stop all hosts at once; chunks that run get the grace to end."""
        await asyncio.gather(*(backend.host.stop(grace_s) for backend in self))
        await self.dsp.stop()

    def _admit(self, candidate: FoundBackend) -> BackendInfo:
        info = candidate.info
        if info.state == "missing" and info.enabled:
            return msgspec.structs.replace(info, capabilities=self._told_by(candidate))
        if info.state != "found" or not info.enabled:
            return info
        try:
            backend = load_class(candidate.entry_point)
            self._hosted[info.name] = self._host(backend)
        except SettingsError:
            raise
        except BackendUnavailable as error:
            return msgspec.structs.replace(
                info, state="missing", error=error.reason, cure=error.cure, capabilities=self._told_by(candidate)
            )
        except Exception as error:  # noqa: BLE001 - a broken plugin is listed and stops nobody
            return msgspec.structs.replace(
                info,
                state="broken",
                error=f"{type(error).__name__}: {error}",
                cure=f"pip install -U {info.distribution}",
            )
        return info

    def _told_by(self, candidate: FoundBackend) -> Capabilities | None:
        """What a backend that lacks something could do; many know without it."""
        try:
            backend = load_class(candidate.entry_point)
            raw = self._settings.backends.get(backend.name, {})
            own, host = configure(backend, raw, self._settings.origins)
            return backend(own, self._context(host, 1)).capabilities()
        except Exception:  # noqa: BLE001 - it cannot run anyway
            return None

    def _host(self, backend: type[Backend]) -> HostedBackend:
        own, host_settings = configure(backend, self._settings.backends.get(backend.name, {}), self._settings.origins)
        asked = backend(own, self._context(host_settings, cores()))
        capabilities = asked.capabilities()
        if host_settings.take_checks is not None:
            capabilities = msgspec.structs.replace(capabilities, checks=host_settings.take_checks)
        scale = scale_of(backend.name, host_settings, capabilities, self._settings.origins)
        context = self._context(host_settings, max(1, cores() // scale.max_workers))
        spec = Spec(backend, own, context, self._post, beat_s=min(5.0, scale.chunk_timeout_s / 4))
        revision, voices = asked.revision(), asked.voices()
        if not voices:
            raise TypeError("it has no voices")
        make = self._maker(spec, capabilities.host)
        host = Host(backend.name, revision, capabilities.concurrency, scale, make, self._clock)
        return HostedBackend(backend.name, capabilities, voices, revision, backend.RequestOptions, scale, host)

    def _context(self, host: HostSettings, threads: int) -> BackendContext:
        settings = self._settings
        device = host.device or settings.device
        return BackendContext(settings.models_dir, device, threads, settings.hf_token)

    def _maker(self, spec: Spec, placement: str) -> MakeWorker:
        def make(on_message: OnMessage, on_exit: OnExit) -> Worker:
            if placement == "inline":
                return InlineWorker(spec, self.dsp, on_message, on_exit)
            return ProcessWorker(spec, on_message, on_exit)

        return make

"""Describes the installed backends (languages, voices, models, errors) without loading an engine."""

from __future__ import annotations

import msgspec

from backends.interface import Backend, BackendContext, BackendUnavailable, ModelStore
from gateway.cli.prepared import settings_for
from gateway.clock import SystemClock
from gateway.engines.configure import configure
from gateway.engines.discovery import discover, load_class
from gateway.engines.registry import Engines, unregistered
from gateway.errors import BadRequest, NotFound
from gateway.settings import Settings
from gateway.speech.sound.finish import post


class Installed(msgspec.Struct, frozen=True):
    """One backend; `remark` is its error and the cure, or how to enable it.

    Args:
        lacks: for a backend in state `found`: a line for each of its models that cannot speak, with the cure.
        speechless: whether none of its models can speak.
    """

    name: str
    state: str
    enabled: bool
    distribution: str
    version: str
    languages: tuple[str, ...] = ()
    voices: tuple[str, ...] = ()
    sample_rate: int | None = None
    revision: str = ""
    remark: str = ""
    lacks: tuple[str, ...] = ()
    speechless: bool = False


def installed(settings: Settings | None = None) -> list[Installed]:
    """List every registered backend, usable or not."""
    settings = settings or settings_for()
    engines = engines_of(settings)
    rows = []
    for info in engines.infos:
        hosted = engines.get(info.name)
        remark = "; ".join(filter(None, (info.error, info.cure)))
        if not info.enabled:
            remark = f"loads when named: VOXGATE_PLUGINS={info.name}"
        row = Installed(info.name, info.state, info.enabled, info.distribution, info.version, remark=remark)
        if info.capabilities is not None:
            row = msgspec.structs.replace(row, languages=info.capabilities.languages)
        if hosted is not None:
            models, lacks = _models(info.name, settings)
            row = msgspec.structs.replace(
                row,
                remark="; ".join(filter(None, (remark, *lacks))),
                lacks=lacks,
                speechless=0 < models == len(lacks),
                languages=hosted.capabilities.languages,
                voices=tuple(voice.name for voice in hosted.voices),
                sample_rate=hosted.capabilities.sample_rate,
                revision=hosted.revision,
            )
        rows.append(row)
    return rows


def engines_of(settings: Settings) -> Engines:
    """Return the backends as the server would host them; none is started."""
    return Engines(settings, post, SystemClock())


def chosen(name: str, settings: Settings | None = None) -> tuple[type[Backend], msgspec.Struct, BackendContext]:
    """Return the class of one installed backend, its own settings, and its context (folders, device).

    Raises:
        NotFound: no installed package registers the backend.
        BackendUnavailable: the backend lacks a package, or cannot be imported.
        SettingsError: the backend's settings are wrong.
    """
    settings = settings or settings_for()
    candidates = {candidate.info.name: candidate for candidate in discover(None)}
    if name not in candidates:
        raise NotFound(unregistered(name, candidates))
    info = candidates[name].info
    if info.state != "found":
        raise BackendUnavailable(f"backend {name} is {info.state}: {info.error}", info.cure)
    try:
        backend = load_class(candidates[name].entry_point)
    except Exception as error:  # any error of its import is the plugin's defect
        raise BackendUnavailable(f"backend {name} is broken: {type(error).__name__}: {error}") from error
    own, host = configure(backend, settings.backends.get(name, {}), settings.origins)
    return backend, own, BackendContext(settings.models_dir, host.device or settings.device, 1, settings.hf_token)


def refuse_missing(backend: type[Backend], own: msgspec.Struct, context: BackendContext) -> None:
    """Refuse a backend whose package is missing: the conformance kit has nothing to check then.

    Raises:
        BackendUnavailable: raised by the backend's `capabilities`, `voices` or `revision`; with the cure.
    """
    try:
        asked = backend(own, context)
        asked.capabilities(), asked.voices(), asked.revision()
    except BackendUnavailable as error:
        raise BackendUnavailable(f"backend {backend.name} is missing: {error.reason}", error.cure) from error
    except Exception:  # noqa: BLE001 - the kit reports every other error
        return


def model_stores(name: str | None = None) -> dict[str, ModelStore]:
    """Return the backends that keep model files, by name: the one named, or all that may load. None is loaded.

    Raises:
        BadRequest: the named backend keeps no model files.
        NotFound, BackendUnavailable, SettingsError: as `chosen`.
    """
    if name is not None:
        store = _model_store(name)
        if store is None:
            raise BadRequest(f"the backend {name} has no model files of its own")
        return {name: store}
    infos = [candidate.info for candidate in discover(settings_for().plugins)]
    usable = [info.name for info in infos if info.enabled and info.state == "found"]
    return {one: store for one in usable if (store := _model_store(one)) is not None}


def _models(name: str, settings: Settings) -> tuple[int, tuple[str, ...]]:
    """Count a backend's models, and describe those whose missing files are not fetched automatically."""
    try:
        store = _model_store(name, settings)
        models = store.models() if store is not None else ()
    except Exception as error:  # noqa: BLE001 - a plugin's defect must not hide the other backends
        return 0, (f"its models cannot be listed: {type(error).__name__}: {error}",)
    return len(models), tuple(
        f"the model {model.name} cannot speak: {model.folder} lacks {', '.join(model.missing)} ({model.cure})"
        for model in models
        if model.missing and model.cure
    )


def _model_store(name: str, settings: Settings | None = None) -> ModelStore | None:
    backend, own, context = chosen(name, settings)
    made = backend(own, context)
    return made if isinstance(made, ModelStore) else None

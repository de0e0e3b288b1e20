"""What the backends of this installation say about themselves, without loading an engine."""

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
    """One backend; `remark` is its error and the cure, or how it is enabled.

    Args:
        lacks: of one that is found: each of its models that cannot speak, why, and the cure.
        speechless: whether that is all of them.
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
    """Every registered backend, usable or not."""
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
    """The backends as the server would host them; nothing is started."""
    return Engines(settings, post, SystemClock())


def chosen(name: str, settings: Settings | None = None) -> tuple[type[Backend], msgspec.Struct, BackendContext]:
    """The class of one installed backend, its own settings, and what this machine offers it.

    Raises:
        NotFound: no installed package registers it.
        BackendUnavailable: it is missing something, or cannot be imported.
        SettingsError: its settings are wrong.
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
    except Exception as error:  # whatever its import raises is the plugin's defect
        raise BackendUnavailable(f"backend {name} is broken: {type(error).__name__}: {error}") from error
    own, host = configure(backend, settings.backends.get(name, {}), settings.origins)
    return backend, own, BackendContext(settings.models_dir, host.device or settings.device, 1, settings.hf_token)


def refuse_missing(backend: type[Backend], own: msgspec.Struct, context: BackendContext) -> None:
    """Say that a backend lacks its package, which is nothing a check could find fault with.

    Raises:
        BackendUnavailable: it says so itself when it is asked what it is; with the cure.
    """
    try:
        asked = backend(own, context)
        asked.capabilities(), asked.voices(), asked.revision()
    except BackendUnavailable as error:
        raise BackendUnavailable(f"backend {backend.name} is missing: {error.reason}", error.cure) from error
    except Exception:  # noqa: BLE001 - the kit tells about everything else
        return


def model_stores(name: str | None = None) -> dict[str, ModelStore]:
    """The backends that keep model files, by name: one of them, or all that may load. Nothing is loaded.

    Raises:
        BadRequest: the backend that is named keeps none.
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
    """How many models a backend has, and what is wrong with those whose files will not come by themselves."""
    try:
        store = _model_store(name, settings)
        models = store.models() if store is not None else ()
    except Exception as error:  # noqa: BLE001 - a plugin's fault, and no reason to list nothing
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

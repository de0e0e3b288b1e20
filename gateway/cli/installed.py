"""What the backends of this installation say about themselves, without loading an engine."""

from __future__ import annotations

import msgspec

from gateway.cli.prepared import settings_for
from gateway.clock import SystemClock
from gateway.engines.registry import Engines
from gateway.settings import Settings
from gateway.speech.finish import post


class Installed(msgspec.Struct, frozen=True):
    """One backend; `remark` is its error and the cure, or how it is enabled."""

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


def installed(settings: Settings | None = None) -> list[Installed]:
    """Every registered backend, usable or not."""
    engines = engines_of(settings or settings_for())
    rows = []
    for info in engines.infos:
        hosted = engines.get(info.name)
        remark = "; ".join(filter(None, (info.error, info.cure)))
        if not info.enabled:
            remark = f"loads when named: VOXGATE_PLUGINS={info.name}"
        row = Installed(info.name, info.state, info.enabled, info.distribution, info.version, remark=remark)
        if hosted is not None:
            row = msgspec.structs.replace(
                row,
                languages=hosted.capabilities.languages,
                voices=tuple(voice.name for voice in hosted.voices),
                sample_rate=hosted.capabilities.sample_rate,
                revision=hosted.revision,
            )
        rows.append(row)
    return rows


def engines_of(settings: Settings) -> Engines:
    """The backends as the server would host them; nothing is started."""
    return Engines(msgspec.structs.replace(settings, model_cache_dir=settings.models_dir), post, SystemClock())

"""The operator's settings of Chatterbox, and its request options."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

ModelName = Literal["english", "multilingual", "turbo"]
_Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class ChatterboxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `[backends.chatterbox]`; the device is a key of the host in the same section.

    Args:
        model: `english`, `multilingual` (23 languages) or `turbo` (English, smaller).
        models: the models requests may ask for, `["english", "multilingual"]`, as a variable `english,multilingual`;
            absent means `model` alone. `model` is loaded at the start, each other one when it is first needed.
        engine: `fast` decodes many chunks at once; `reference` calls upstream's `generate()`, one chunk at a time.
            Multilingual and Turbo always use `reference`.
        dtype: of the token decoder's weights; `auto` is bf16 on a CUDA GPU that computes in it (compute capability 8.0,
            Ampere, or newer), else fp32.
        deterministic: a chunk has the same bytes in any batch: fp32, fixed batch shapes, no shared mel batches.
        slots: chunks decoded at a time by the fast engine.
        model_path: a folder with the model's files, or with `models` one folder for each in it, named like the model;
            absent means the hub.
        repo: a repository of the hub with the same files as `model`; absent means Resemble AI's.
        hub_revision: commit or branch of that repository; absent means the commit this version supports.
        offline: never ask the hub.
        voices_dir: a folder of recordings, 3 to 60 s each (WAV, FLAC, Ogg, MP3), that all tenants may use as voices; a
            voice is named like its file.
        preset: `faithful` is upstream's sound; `fast` takes 6 flow steps and reads 5 s of the recording, for less than
            half the work of the mel decoder.
        flow_steps: Euler steps from noise to mel, fewer are faster and rougher; absent means the preset's (10 or 6).
        reference_s: seconds of the recording the mel decoder reads; absent means the preset's (10 or 5).
    """

    model: ModelName = "english"
    models: tuple[ModelName, ...] | str | None = None
    engine: Literal["fast", "reference"] = "fast"
    dtype: Literal["auto", "fp32", "bf16"] = "auto"
    deterministic: bool = False
    slots: Annotated[int, Meta(ge=1, le=64)] = 8
    model_path: str | None = None
    repo: str | None = None
    hub_revision: str | None = None
    offline: bool = False
    voices_dir: str | None = None
    preset: Literal["faithful", "fast"] = "faithful"
    flow_steps: Annotated[int, Meta(ge=2, le=50)] | None = None
    reference_s: Annotated[float, Meta(ge=1.0, le=10.0)] | None = None

    @property
    def steps(self) -> int:
        """Euler steps from noise to mel."""
        return self.flow_steps or (10 if self.preset == "faithful" else 6)

    @property
    def heard_s(self) -> float:
        """Seconds of the recording the mel decoder reads."""
        return self.reference_s or (10.0 if self.preset == "faithful" else 5.0)

    def __post_init__(self) -> None:
        known = get_args(ModelName)
        if unknown := [name for name in self.allowed if name not in known]:
            raise ValueError(f"models: {unknown[0]!r} is none of {', '.join(known)}")

    @property
    def batches(self) -> bool:
        """True if the fast engine runs."""
        return self.engine == "fast" and "english" in self.allowed

    @property
    def allowed(self) -> tuple[str, ...]:
        """The models that may be loaded, the first one at the start."""
        names = self.models.replace(" ", "").split(",") if isinstance(self.models, str) else self.models or ()
        return tuple(dict.fromkeys((self.model, *names)))

    def of(self, name: str) -> ChatterboxSettings:
        """Return the settings for one of the allowed models."""
        own: dict[str, Any] = {"model": name, "models": None}
        if self.model_path is not None and len(self.allowed) > 1:
            own["model_path"] = f"{self.model_path}/{name}"
        if name != self.model:
            own |= {"repo": None, "hub_revision": None}
        return msgspec.structs.replace(self, **own)


class ChatterboxOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request options `input.options`. An absent value means the model's default.

    Args:
        model: one of the server's models; absent means the first one that speaks the language.
        exaggeration: expressiveness; 0.5 is neutral. Turbo ignores it.
        cfg_weight: strength of guidance, by which the pace follows the text; 0 halves the work. Turbo ignores it.
        temperature: of sampling.
        min_p: tokens less likely than this share of the likeliest are never chosen; 0.05. Turbo ignores it.
        top_p: tokens are chosen from the likeliest that together reach this probability; 1, Turbo 0.95.
        repetition_penalty: against tokens that were already chosen; 1.2, multilingual 2.
    """

    model: ModelName | None = None
    exaggeration: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.5
    cfg_weight: _Share = 0.5
    temperature: Annotated[float, Meta(ge=0.05, le=5.0)] = 0.8
    min_p: _Share | None = None
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    repetition_penalty: Annotated[float, Meta(ge=1.0, le=3.0)] | None = None

"""The Chatterbox plugin: describes the models, loads them and chooses the engine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Iterator
from typing import Any

from backends.chatterbox import inventory, segmenter
from backends.chatterbox.models import MODELS, choose_model
from backends.chatterbox.presets import presets
from backends.chatterbox.settings import ChatterboxOptions, ChatterboxSettings
from backends.chatterbox.switch import Engine, Switch
from backends.chatterbox.weights import Weights, locate
from backends.interface import (
    BackendContext,
    BackendUnavailable,
    Capabilities,
    ChunkRule,
    Event,
    Feed,
    Limit,
    ModelFiles,
    Otherwise,
    Progress,
    Voice,
)

DISTRIBUTIONS = ("videopython-chatterbox", "chatterbox-tts")
"""Packages that contain the module `chatterbox`, the preferred one first."""

_ENGLISH_CHUNKS = ChunkRule(40, 240, Limit(300))
_CHUNKS = ChunkRule(40, 240, Limit(300, "utf8_bytes"))
"""The rule for all languages: 300 Chinese characters would be a minute of speech, and no model speaks over 40 s."""

_CURE = "pip install 'voxgate[chatterbox]'"


class ChatterboxBackend:
    """One or more models on one device in one worker process."""

    name = "chatterbox"
    api_version = 1
    Settings = ChatterboxSettings
    RequestOptions = ChatterboxOptions

    def __init__(self, settings: ChatterboxSettings, context: BackendContext) -> None:
        self._settings = settings
        self._context = context
        self._engine: Switch | None = None
        self._identities: dict[str, str] = {}  # of each model's files, at the time of `revision`

    def capabilities(self) -> Capabilities:
        """See Backend. A seed gives the same tokens in any batch; with `deterministic`, or on a CPU, the same bytes."""
        return Capabilities(
            languages=self._languages(),
            sample_rate=24_000,
            chunk=_ENGLISH_CHUNKS if self._languages() == ("en",) else _CHUNKS,
            seed=True,
            cloning=True,
            checks=True,
            spell_out=True,
            concurrency=self._settings.slots if self._settings.batches else 1,
            most_workers=1,
            otherwise=tuple(
                Otherwise("model", name, model.languages)
                for name, model in MODELS.items()
                if name not in self._settings.allowed
            ),
        )

    def voices(self) -> tuple[Voice, ...]:
        """List the built-in voice of the model and the presets of this server."""
        hashes = ["" if weights.absent else weights.voice_hash() for weights in self._weights()]
        content = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
        builtin = Voice("default", self._languages(), content, "the voice that comes with Chatterbox")
        return (builtin, *presets(self._settings.voices_dir, self._languages()))

    def revision(self) -> str:
        """Return the package version and a hash of the weights' identity and all settings that shape the sound."""
        settings, version = self._settings, _version()
        shaping: tuple[object, ...] = (
            settings.allowed, settings.engine, settings.dtype, settings.deterministic, settings.steps,
            settings.heard_s, self._files(),
        )  # fmt: skip
        if settings.deterministic:  # batch shapes and the number of threads change the bytes
            shaping += (settings.slots, self._context.threads)
        return f"{version}-{hashlib.sha256(repr(shaping).encode()).hexdigest()[:12]}"

    def load(self, progress: Progress) -> None:
        """Download missing files, load the model, build the engine."""
        _version()
        progress(0.0, "importing PyTorch")
        try:
            from backends.chatterbox import compat

            compat.prepare()
            import torch

            from backends.chatterbox import device as devices
        except ImportError as error:
            raise BackendUnavailable(f"Chatterbox cannot be imported: {error}", _CURE) from error
        torch.set_num_threads(max(1, self._context.threads))
        device = devices.choose_device(self._context.device)
        devices.fix_arithmetic(self._settings.deterministic)
        allowed, weights = self._settings.allowed, self._weights()
        self._identities = dict(zip(allowed, map(_identity, weights), strict=True))
        first = next(name for name, files in zip(allowed, weights, strict=True) if not files.absent)
        self._engine = Switch(
            first,
            self._start(first, device, progress),
            lambda name: self._start_later(name, device, progress),
            lambda chunk: choose_model(allowed, chunk.language, chunk.options.model),
        )

    def synthesize(self, feed: Feed) -> Iterator[Event]:
        """Speak until the feed is closed."""
        if self._engine is None:
            raise BackendUnavailable("Model not initialized", "call load() first")
        return self._engine.synthesize(feed)

    def unload(self) -> None:
        """Free the models."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def models(self) -> tuple[ModelFiles, ...]:
        """See ModelStore."""
        return tuple(inventory.list_files(settings, self._context) for settings in self._each())

    def pull(self, progress: Progress) -> None:
        """See ModelStore."""
        for nth, settings in enumerate(self._each()):
            inventory.pull(settings, self._context, _part(progress, nth, len(self._settings.allowed)))

    def verify(self) -> tuple[str, ...]:
        """See ModelStore."""
        faults = [
            (settings.model, fault) for settings in self._each() for fault in inventory.verify(settings, self._context)
        ]
        several = len(self._settings.allowed) > 1
        return tuple(f"{name}: {fault}" if several else fault for name, fault in faults)

    def _each(self) -> list[ChatterboxSettings]:
        """List the settings for each allowed model."""
        return [self._settings.of(name) for name in self._settings.allowed]

    def _languages(self) -> tuple[str, ...]:
        spoken = {language for name in self._settings.allowed for language in MODELS[name].languages}
        return tuple(sorted(spoken))

    def _weights(self) -> list[Weights]:
        """Locate the weights of each allowed model; some may be absent.

        Raises:
            BackendUnavailable: all are absent.
        """
        found = [locate(settings, self._context) for settings in self._each()]
        if all(weights.absent for weights in found):
            found[0].require()
        return found

    def _files(self) -> tuple[object, ...]:
        """List the identities of all files that are read."""
        words = segmenter.identity(self._context.model_dir) if "zh" in self._languages() else ()
        return *map(_identity, self._weights()), *words

    def _start(self, name: str, device: Any, progress: Progress) -> Engine:
        """Download a model's missing files, load it, build its engine."""
        from backends.chatterbox import device as devices
        from backends.chatterbox import loading

        devices.enter(device)
        settings = self._settings.of(name)
        weights = locate(settings, self._context)
        if not weights.absent and weights.identity() != self._identities[name]:
            # Its takes would be cached under the revision of the old files.
            raise BackendUnavailable(
                f"the files in {weights.folder} appeared or changed after the start", "restart the server"
            )
        inventory.fetch(
            weights,
            self._context,
            lambda share, text: progress(0.05 + 0.35 * share, text),
            forbidden=settings.offline,
        )
        progress(0.4, f"loading the {name} model on {device}")
        model = loading.load_model(weights, device)
        progress(0.9, "preparing the engine")
        return self._build(model, settings, device)

    def _start_later(self, name: str, device: Any, progress: Progress) -> Engine:
        """Start a further model in a running worker; chunks wait until it reports a share of 1, also after an error."""
        try:
            return self._start(name, device, progress)
        finally:
            progress(1.0, "")

    def _build(self, model: Any, settings: ChatterboxSettings, device: Any) -> Engine:
        facts = MODELS[settings.model]
        if not settings.batches:
            from backends.chatterbox.reference import ReferenceEngine

            if "zh" in facts.languages:
                model.tokenizer.cangjie_converter.segmenter = segmenter.find_segmenter(self._context.model_dir)
            return ReferenceEngine(model, facts, settings)
        from backends.chatterbox.device import choose_dtype
        from backends.chatterbox.engine import FastEngine

        dtype = choose_dtype(settings, device)
        engine = FastEngine(model, facts, settings, dtype=dtype, threads=self._context.threads)
        del model.t3.tfmr.layers[:]  # the engine has its own copy, fused
        return engine


def _identity(weights: Weights) -> str:
    return "" if weights.absent else weights.identity()


def _part(progress: Progress, nth: int, of: int) -> Progress:
    return lambda share, text: progress((nth + share) / of, text)


def _version() -> str:
    """Return name and version of the package `chatterbox` is imported from: the first on the path, if both exist."""
    places = {str(entry): nth for nth, entry in reversed(list(enumerate(sys.path)))}
    found = []
    for name in DISTRIBUTIONS:
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        nth = places.get(str(distribution.locate_file("")).rstrip("/"), len(places))
        found.append((nth, f"{name}-{distribution.version}"))
    if found:
        return min(found, key=lambda one: one[0])[1]
    raise BackendUnavailable("the package chatterbox is not installed", _CURE)

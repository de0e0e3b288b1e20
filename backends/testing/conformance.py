"""The conformance kit: checks that a backend keeps the plugin contract. Run it with `voxgate backends test NAME`.

It needs no gateway and no test framework. Every finding names its check; a failed one says what was found instead.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np

from backends.interface import (
    API_VERSION,
    Backend,
    BackendContext,
    BackendUnavailable,
    Capabilities,
    Chunk,
    ChunkFailed,
    Event,
    FailureKind,
    Take,
    Voice,
    WordTime,
)
from backends.testing.feeds import KitFeed, WaitingKitFeed

HEAVY = ("torch", "onnxruntime", "tensorflow", "jax", "transformers", "librosa", "scipy", "grpc", "google.cloud", "ray")
"""Modules that only `load` may import."""

ODD_TEXTS = (
    "I.",
    "3",
    "A\u00a0b\u2009c",
    "Naïve café, déjà vu!",
    "x" * 60,
    "7" * 60,
    "10⁻⁶ x⁻¹ ⑴ ½ ₂",
    "İstanbul",
    "Wait... what?! No -- (yes) [maybe] {so}.",
    "😀 ok",
)
_PLAIN = ("The first sentence of three.", "A second one follows it.", "And here the third one ends.")


class Finding(msgspec.Struct, frozen=True):
    """The result of one check.

    Args:
        check: the statement that was checked.
        ok: the statement is true.
        detail: what was found instead, if it is not.
    """

    check: str
    ok: bool
    detail: str = ""


def check(
    backend: type[Backend],
    settings: dict[str, Any] | None = None,
    context: BackendContext | None = None,
    watch: Callable[[str | Finding], None] = lambda name_or_finding: None,
) -> list[Finding]:
    """Load a backend in this process and run all checks on it.

    Args:
        settings: of the plugin, as in `[backends.NAME]`.
        context: default is the CPU with one thread.
        watch: called with the name of each check when it begins, and with its finding.
    """
    return _Kit(backend, settings or {}, context or BackendContext(Path.cwd() / "models", "cpu"), watch).run()


class _Kit:
    def __init__(
        self,
        backend: type[Backend],
        settings: dict[str, Any],
        context: BackendContext,
        watch: Callable[[str | Finding], None],
    ) -> None:
        self.backend, self.raw, self.context, self.watch = backend, settings, context, watch
        self.findings: list[Finding] = []
        self.ids = iter(range(1, 1 << 62))

    def run(self) -> list[Finding]:
        if not (
            self.expect("it has the names of the contract", self.contract)
            and self.expect("it can be built", self.build)
        ):
            return self.findings
        self.expect("capabilities, voices and revision import nothing heavy", self.light)
        if not self.expect("its capabilities make sense", self.capable) or not self.expect(
            "it has voices", self.voiced
        ):
            return self.findings
        self.expect("its revision is always the same", self.revised)
        if not self.expect("it loads and reports progress", self.load):
            return self.findings
        if not self.expect("it has voices after loading", self.voiced):
            return self.findings
        self.expect("its revision after loading is the announced one", self.revised)
        for name, method in (
            ("it returns when the feed is closed", self.closes),
            ("it gives one take for each chunk", self.speaks),
            ("it gives nothing for a cancelled chunk", self.cancels),
            ("it drops a chunk that is cancelled while it is spoken", self.cancels_late),
            ("it survives a chunk above its limit", self.too_long),
            ("it survives odd text", self.odd),
            ("the same seed gives the same samples", self.seeded),
            ("it unloads and loads again", self.again),
        ):
            self.expect(name, method)
        return self.findings

    def expect(self, name: str, method: Callable[[], None]) -> bool:
        self.watch(name)
        try:
            method()
        except BackendUnavailable as error:
            finding = Finding(name, False, f"unavailable: {error}")
        except AssertionError as error:
            finding = Finding(name, False, str(error))
        except Exception as error:  # noqa: BLE001 - any error of a backend is a finding
            finding = Finding(name, False, f"raised {type(error).__name__}: {error}")
        else:
            finding = Finding(name, True)
        self.findings.append(finding)
        self.watch(finding)
        return finding.ok

    # -- before loading -------------------------------------------------------------------------
    def contract(self) -> None:
        members = ("name", "api_version", "Settings", "RequestOptions", *_METHODS)
        lacks = [name for name in members if not hasattr(self.backend, name)]
        _require(not lacks, f"it lacks {', '.join(lacks)}")
        version = self.backend.api_version
        _require(version == API_VERSION, f"api_version is {version!r}, this kit checks {API_VERSION}")
        for struct in (self.backend.Settings, self.backend.RequestOptions):
            _require(issubclass(struct, msgspec.Struct), f"{struct.__name__} is not a msgspec.Struct")
            strict = struct.__struct_config__.forbid_unknown_fields
            _require(strict, f"{struct.__name__} needs forbid_unknown_fields=True: a typo must not pass in silence")
            missing = [field.name for field in msgspec.structs.fields(struct) if field.required]
            optional = struct is self.backend.Settings or not missing
            _require(optional, f"{struct.__name__}.{', '.join(missing)} has no default")

    def build(self) -> None:
        self.settings = msgspec.convert(self.raw, self.backend.Settings)
        self.engine: Any = self.backend(self.settings, self.context)

    def light(self) -> None:
        spec = {
            "path": sys.path, "module": self.backend.__module__, "name": self.backend.__qualname__,
            "settings": self.raw, "models": str(self.context.model_dir), "heavy": HEAVY,
        }  # fmt: skip
        done = subprocess.run(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", _LIGHT, json.dumps(spec)], capture_output=True, text=True, timeout=120, check=False
        )
        _require(done.returncode == 0, f"asking it in a fresh process failed: {done.stderr.strip()[-300:]}")
        imported = json.loads(done.stdout)
        _require(not imported, f"it imported {', '.join(imported)} before load")

    def capable(self) -> None:
        found: Capabilities = _is_a(Capabilities, self.engine.capabilities(), "capabilities()")
        _has_its_types(found)
        self.capabilities = found
        rule = found.chunk
        _require(bool(found.languages), "it speaks no language")
        _are_tags(found.languages)
        _require(4_000 <= found.sample_rate <= 192_000, f"its sample rate is {found.sample_rate} Hz")
        _require(0 < rule.min_chars <= rule.target_chars <= rule.max.n, f"its chunk rule contradicts itself: {rule}")
        _require(found.concurrency >= 1, f"its concurrency is {found.concurrency}")
        _require(found.workers >= 0, f"it asks for {found.workers} workers")

    def voiced(self) -> None:
        self.voices: tuple[Voice, ...] = tuple(self.engine.voices())
        for voice in self.voices:
            _has_its_types(_is_a(Voice, voice, "voices()"))
            _are_tags(voice.languages)
        names = [voice.name for voice in self.voices]
        _require(bool(names), "it has none")
        _require(len(set(names)) == len(names), f"names come twice: {names}")
        unhashed = [voice.name for voice in self.voices if not voice.content_hash]
        _require(not unhashed, f"no content_hash: {unhashed}")

    def revised(self) -> None:
        first, second = self.engine.revision(), self.backend(self.settings, self.context).revision()
        _is_a(str, first, "revision()")
        _require(bool(first), "it is empty")
        _require(first == second, f"{first!r} and {second!r}")

    # -- after loading --------------------------------------------------------------------------
    def load(self) -> None:
        self.shares: list[float] = []
        self.engine.load(lambda share, _: self.shares.append(share))
        self.reported()
        self.shares.clear()

    def reported(self) -> None:
        for share in self.shares:
            _is_a(int | float, share, "the share of progress")
        _require(all(0 <= share <= 1 for share in self.shares), f"progress outside [0, 1]: {self.shares}")

    def closes(self) -> None:
        _require(not self.speak([]), "it gave events without chunks")

    def speaks(self) -> None:
        chunks = [self.chunk(text, seed=n) for n, text in enumerate(_PLAIN)]
        for take in self.takes(chunks):
            peak = float(np.abs(take.pcm).max())
            _require(peak > 0, "a take is silent")
            says, has = self.capabilities.words, len(take.words)
            _require(says == bool(has), f"its capabilities say words={says}; a take has {has} word times")

    def cancels(self) -> None:
        chunks = [self.chunk(text) for text in _PLAIN]
        events = self.speak(chunks, cancelled={chunks[1].id})
        answered = sorted(event.chunk_id for event in events)
        _require(
            answered == [chunks[0].id, chunks[2].id], f"events for chunks {answered} of {[one.id for one in chunks]}"
        )

    def cancels_late(self) -> None:
        if self.capabilities.host != "inline":
            return  # a worker's feed is asked from another thread, so a kit cannot choose the moment
        for turns in range(_CANCEL_TURNS):
            chunks = [self.chunk(text) for text in _PLAIN]
            late, others = chunks[0].id, [chunk.id for chunk in chunks[1:]]
            feed = WaitingKitFeed(KitFeed(chunks, set()), (late,), turns)
            answered = sorted(event.chunk_id for event in self.events(feed) if event.chunk_id != late)
            _require(answered == others, f"events for chunks {answered} of {others}, which were not cancelled")

    def too_long(self) -> None:
        limit = self.capabilities.chunk.max
        self.answered([self.chunk(("word " * limit.n)[: 2 * limit.n].strip())])

    def odd(self) -> None:
        self.answered([self.chunk(text) for text in ODD_TEXTS])

    def seeded(self) -> None:
        if not self.capabilities.seed:
            return
        alone = self.takes([self.chunk(_PLAIN[0], seed=11)])[0].pcm
        company = self.takes([self.chunk(_PLAIN[1], seed=5), self.chunk(_PLAIN[2]), self.chunk(_PLAIN[0], seed=11)])
        _require(np.array_equal(alone, company[2].pcm), "the same text and seed sound different in company")

    def again(self) -> None:
        self.engine.unload()
        self.engine.load(lambda share, text: None)
        self.takes([self.chunk(_PLAIN[0])])
        self.engine.unload()

    # -- tools ----------------------------------------------------------------------------------
    def chunk(self, text: str, seed: int = 0) -> Chunk:
        voice = self.voices[0]
        language = next((one for one in (*voice.languages, *self.capabilities.languages) if one != "*"), "en")
        return Chunk(next(self.ids), text, voice, language, seed, self.backend.RequestOptions())

    def speak(self, chunks: Sequence[Chunk], cancelled: set[int] | None = None) -> list[Event]:
        feed = KitFeed(chunks, cancelled or set())
        if self.capabilities.host == "inline":
            events = self.events(WaitingKitFeed(feed))
        else:
            given = self.engine.synthesize(feed)
            _require(isinstance(given, Iterable), f"synthesize gave {given!r}, which is no iterator of events")
            events = list(given)
        for event in events:
            _require(
                isinstance(event, Take | ChunkFailed), f"it yielded {_seen(event)}, which is no Take and no ChunkFailed"
            )
        self.ended_loading()
        return events

    def events(self, feed: WaitingKitFeed) -> list[Event]:
        """Return all events of a backend on the event loop."""
        given = self.engine.synthesize(feed)
        _require(isinstance(given, AsyncIterable), f"synthesize gave {given!r}; an inline backend's is `async def`")
        return asyncio.run(_gather(given, feed))

    def ended_loading(self) -> None:
        self.reported()
        last, late = self.shares[-1:], "it reported progress after load and never a share of 1: nothing would reach it"
        _require(last in ([], [1]), late)

    def answered(self, chunks: Sequence[Chunk]) -> list[Event]:
        """Speak chunks; check that each has one event and that all takes are valid."""
        events = self.speak(chunks)
        answered, asked = sorted(event.chunk_id for event in events), [chunk.id for chunk in chunks]
        _require(answered == asked, f"events for chunks {answered} of {asked}")
        for event in events:
            if isinstance(event, Take):
                self.sound(event)
            else:
                known = get_args(FailureKind)
                _require(event.kind in known, f"a failure of kind {event.kind!r}, which is none of {', '.join(known)}")
                asks = event.retry_after_s
                valid = asks is None or (isinstance(asks, int | float) and asks >= 0)
                _require(valid, f"retry_after_s is {asks!r} instead of seconds")
        return sorted(events, key=lambda event: event.chunk_id)

    def takes(self, chunks: Sequence[Chunk]) -> list[Take]:
        """Speak chunks; check in addition that none fails."""
        events = self.answered(chunks)
        for event in events:
            if isinstance(event, ChunkFailed) and event.kind == "unavailable":
                raise BackendUnavailable(event.error)
        failed = [event.error for event in events if isinstance(event, ChunkFailed)]
        _require(not failed, f"it failed at plain text: {failed}")
        return [event for event in events if isinstance(event, Take)]

    def sound(self, take: Take) -> None:
        _require(isinstance(take.pcm, np.ndarray), f"samples in {_seen(take.pcm)} instead of a numpy array of float32")
        pcm = np.asarray(take.pcm)
        rate = self.capabilities.sample_rate
        _require(take.rate == rate, f"a take of {take.rate} Hz; the capabilities say {rate} Hz")
        _require(pcm.ndim == 1, f"samples of shape {pcm.shape} instead of (n,)")
        _require(np.issubdtype(pcm.dtype, np.floating), f"samples of type {pcm.dtype} instead of float32")
        _require(pcm.size > 0, "a take without samples: say ChunkFailed(kind='unsupported_text')")
        _require(bool(np.isfinite(pcm).all()), "samples that are not finite")
        peak = float(np.abs(pcm).max())
        _require(peak <= _LOUDEST, f"a peak of {peak:g}: samples are floats in [-1, 1], not integers")
        _require(isinstance(take.rate, int), f"a rate of {take.rate!r} instead of a whole number")
        at = 0
        for word in take.words:
            parts = msgspec.structs.astuple(_is_a(WordTime, word, "Take.words"))
            _require(tuple(map(type, parts)) == (int, int, str), f"{word} instead of two whole numbers and a word")
            place = f"{word.word!r} from sample {word.start} to {word.end}"
            _require(at <= word.start, f"word times out of order: {place}, after one that ends at {at}")
            _require(word.start <= (at := word.end) <= pcm.size, f"{place} of a take of {pcm.size} samples")
        words = isinstance(take.warnings, tuple) and all(isinstance(each, str) for each in take.warnings)
        _require(words, f"warnings are {take.warnings!r} instead of a tuple of texts")


async def _gather(events: AsyncIterator[Event], feed: WaitingKitFeed) -> list[Event]:
    given = []
    async for event in events:
        late = isinstance(event, Take | ChunkFailed) and feed.cancelled(event.chunk_id)
        _require(not late, "it gave an event for a chunk after its cancel")
        given.append(event)
    return given


def _seen(value: object) -> str:
    shown = repr(value)
    return f"{type(value).__name__} {shown}" if len(shown) <= 60 else f"{type(value).__name__} {shown[:57]}..."


def _is_a(kind: Any, value: Any, what: str) -> Any:
    name = getattr(kind, "__name__", str(kind))
    _require(isinstance(value, kind), f"{what} gave {_seen(value)} instead of a {name}")
    return value


def _has_its_types(struct: msgspec.Struct) -> None:
    """Check the types of a Struct's fields: its constructor does not."""
    try:
        msgspec.convert(msgspec.structs.asdict(struct), type(struct), from_attributes=True)
    except msgspec.ValidationError as error:
        raise AssertionError(f"{type(struct).__name__} is wrong: {error}") from None


def _are_tags(languages: Sequence[str]) -> None:
    wrong = [tag for tag in languages if tag != "*" and not _TAG(tag)]
    _require(not wrong, f"languages are BCP 47 tags such as en or pt-BR, or *; these are not: {', '.join(wrong)}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*").fullmatch
_LOUDEST = 10.0
_CANCEL_TURNS = 4
_METHODS = ("capabilities", "voices", "revision", "load", "synthesize", "unload")

_LIGHT = """
import importlib, json, pathlib, sys
spec = json.loads(sys.argv[1])
sys.path[:] = spec["path"]
import msgspec
from backends.interface import BackendContext
backend = importlib.import_module(spec["module"])
for name in spec["name"].split("."):
    backend = getattr(backend, name)
settings = msgspec.convert(spec["settings"], backend.Settings)
asked = backend(settings, BackendContext(pathlib.Path(spec["models"]), "cpu"))
asked.capabilities(), asked.voices(), asked.revision()
print(json.dumps([name for name in spec["heavy"] if name in sys.modules]))
"""

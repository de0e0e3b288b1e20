"""The scripted backend: its settings and options choose its behaviour, so that tests can cause every fault.

It loads only when VOXGATE_PLUGINS names it. Its samples are a function of text and seed, unless a
setting changes that.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from backends.each import each_async
from backends.interface import (
    AsyncFeed,
    BackendContext,
    BackendUnavailable,
    Capabilities,
    Chunk,
    ChunkFailed,
    ChunkRule,
    Event,
    FailureKind,
    Feed,
    Limit,
    Pcm,
    Price,
    Progress,
    Take,
    Voice,
    WordTime,
)

PcmKind = Literal[
    "tone", "silence", "nan", "noise", "wrong_rate", "empty", "nothing", "speech", "looped", "clipped", "hissing",
    "no_memory", "busy",
]  # fmt: skip
"""The content of a take. `speech` is syllables of changing colour, which pass take checks at 0.07 seconds a character;
`looped`, `clipped` and `hissing` are the same with a flaw: one second repeated, flat tops, two seconds of hiss at the
end. `nothing` gives no event; `no_memory` fails the chunk with `out_of_memory`, `busy` asks to wait for
`busy_s` seconds."""

_STEP_S = 0.005
"""Seconds between two looks at the active chunks: one step of an imaginary decoder."""


class ScriptedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of the scripted backend.

    Args:
        host: the place it runs in; `inline` makes it a backend of the event loop.
        concurrency: chunks it speaks at a time.
        default_workers: its capability `workers`.
        load_s: duration of loading.
        load_fails: `unavailable` raises BackendUnavailable, `raise` a RuntimeError, `crash` kills the process,
            `hang` never ends.
        revision: its revision before loading; `loaded_revision`: its revision after loading, if different.
        loaded_voices: names of its voices after loading, if different.
        languages, min_chars, target_chars, max_chars, rate, spell_out: its capabilities.
        seed: the same seed gives the same samples; if false, noise and tones differ each time.
        seconds_per_char: length of its takes.
        ballast_mb: memory it holds while loaded.
        record: a file that gets a line of JSON, `[text, seed]`, for every chunk it begins to speak.
        cloning: it can speak with a recording's voice: the pitch of its tone then depends on the recording's bytes.
        curse: a file; while it holds words, a chunk with those words kills the worker.
        gate: a file with a number: each worker speaks this many chunks, then waits until the number grows.
        later: a language with a model of its own, loaded when the first chunk in it comes; not with `inline`.
        later_s: duration of loading that model; all chunks of the worker wait meanwhile.
        later_fails: loading that model fails.
        busy_s: seconds that a busy chunk asks to wait.
        words: its takes carry word times. The words of a `tone` are then separate tones, with silence between them.
        usd: its price per `usd_per`; 0 is no price.
        high_usd: the price of the voice `high`, if that has one of its own.
    """

    host: Literal["process", "inline"] = "process"
    concurrency: int = 1
    default_workers: int = 1
    load_s: float = 0.0
    load_fails: Literal["", "unavailable", "raise", "crash", "hang"] = ""
    revision: str = "1"
    loaded_revision: str = ""
    loaded_voices: tuple[str, ...] = ()
    languages: tuple[str, ...] = ("*",)
    min_chars: int = 40
    target_chars: int = 240
    max_chars: int = 300
    rate: int = 24_000
    spell_out: bool = False
    seed: bool = True
    seconds_per_char: float = 0.02
    ballast_mb: int = 0
    record: str = ""
    cloning: bool = False
    curse: str = ""
    gate: str = ""
    later: str = ""
    later_s: float = 0.0
    later_fails: bool = False
    busy_s: float = 0.0
    words: bool = False
    usd: float = 0.0
    high_usd: float = 0.0
    usd_per: Literal["million_characters", "second"] = "million_characters"


class ScriptedOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The behaviour of the scripted backend for one chunk.

    Args:
        delay_s, chunk_delay_s: seconds to wait, added, before each chunk's event; a cancel is noticed meanwhile.
        fail: give ChunkFailed, with this message if it is a text, and with `kind` and `retryable`.
        raises: raise out of `synthesize`, which ends the worker.
        crash: kill its own process.
        hang: block for ever.
        pcm: content of the take.
        takes: contents of the takes of one text, in order, the last one repeated; replaces `pcm`.
        instructions: speaking style; each wording gives another tone.
        only: the options above apply to chunks that contain this text; others are spoken as usual.
    """

    delay_s: float = 0.0
    chunk_delay_s: float = 0.0
    fail: bool | str = False
    kind: FailureKind = "failed"
    retryable: bool = False
    raises: bool = False
    crash: bool = False
    hang: bool = False
    pcm: PcmKind = "tone"
    takes: tuple[PcmKind, ...] = ()
    instructions: str = ""
    only: str = ""


class ScriptedBackend:
    """A backend for tests, with the behaviour that its settings and options choose."""

    name = "scripted"
    api_version = 1
    Settings = ScriptedSettings
    RequestOptions = ScriptedOptions

    def __init__(self, settings: ScriptedSettings, context: BackendContext) -> None:
        self._settings = settings
        self._loaded = False
        self._ballast: Any = None
        self._later_loaded = False
        self._progress: Progress = lambda _share, _text: None
        self._takes_given: Counter[str] = Counter()
        self._spoken = 0

    def capabilities(self) -> Capabilities:
        """See Backend; taken from the settings."""
        settings = self._settings
        return Capabilities(
            languages=settings.languages,
            sample_rate=settings.rate,
            chunk=ChunkRule(settings.min_chars, settings.target_chars, Limit(settings.max_chars)),
            seed=settings.seed,
            spell_out=settings.spell_out,
            cloning=settings.cloning,
            price=Price(settings.usd, settings.usd_per, "2026-11-30") if settings.usd else None,
            host=settings.host,
            concurrency=settings.concurrency,
            workers=settings.default_workers,
            words=settings.words,
        )

    def voices(self) -> tuple[Voice, ...]:
        """List two voices; the second is an octave higher. After loading, the settings may name others."""
        settings = self._settings
        if self._loaded and settings.loaded_voices:
            names = settings.loaded_voices
            return tuple(Voice(name, settings.languages, f"{name}-1", "a tone") for name in names)
        price = Price(settings.high_usd, settings.usd_per, "2026-11-30") if settings.high_usd else None
        return (
            Voice("low", settings.languages, "low-1", "a tone"),
            Voice("high", settings.languages, "high-1", "the same an octave higher", price=price),
        )

    def revision(self) -> str:
        """See Backend; taken from the settings."""
        settings = self._settings
        return settings.loaded_revision or settings.revision if self._loaded else settings.revision

    def load(self, progress: Progress) -> None:
        """Report ten steps of progress, then load or fail as the settings say."""
        settings = self._settings
        for step in range(10):
            progress(step / 10, "pretending")
            time.sleep(settings.load_s / 10)
        match settings.load_fails:
            case "unavailable":
                raise BackendUnavailable("scripted was told to be unavailable", "unset load_fails")
            case "raise":
                raise RuntimeError("scripted was told not to load")
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                _hang()
        self._ballast = np.ones(settings.ballast_mb * 131_072)
        self._progress, self._loaded = progress, True

    def synthesize(self, feed: Any) -> Iterator[Event] | AsyncIterator[Event]:
        """Speak as a batching decoder does: each step takes chunks up to `concurrency` and ends those that are due."""
        return self._inline(feed) if self._settings.host == "inline" else self._batch(feed)

    def unload(self) -> None:
        """Free the ballast."""
        self._ballast, self._loaded, self._later_loaded = None, False, False

    def _batch(self, feed: Feed) -> Iterator[Event]:
        active: dict[int, tuple[Chunk, float]] = {}
        while True:
            room = self._settings.concurrency - len(active)
            chunks = feed.take(room, wait=not active) if room else []
            if not chunks and not active:
                return
            now = time.monotonic()
            active.update((chunk.id, (chunk, now + _delay_s(chunk))) for chunk in chunks)
            if any(self._lacks_model(chunk) for chunk in chunks):
                self._load_later(feed, active)
            for chunk, due in list(active.values()):
                if feed.cancelled(chunk.id):
                    del active[chunk.id]
                elif now >= due and self._may_speak():
                    del active[chunk.id]
                    yield from self._speak(chunk)
            if active:
                time.sleep(_STEP_S)

    async def _inline(self, feed: AsyncFeed) -> AsyncIterator[Event]:
        due: dict[int, Chunk] = {}

        async def wait(chunk: Chunk) -> Event:
            await asyncio.sleep(_delay_s(chunk))
            while not self._may_speak():  # noqa: ASYNC110 - the gate is a file, which has no event
                await asyncio.sleep(_STEP_S)
            due[chunk.id] = chunk
            return ChunkFailed(chunk.id, "")

        async with contextlib.aclosing(each_async(feed, wait, self._settings.concurrency)) as waited:
            async for event in waited:
                for spoken in self._speak(due.pop(event.chunk_id)):  # here, so that `raises` ends the worker
                    yield spoken

    def _may_speak(self) -> bool:
        if self._settings.gate and self._spoken >= int(Path(self._settings.gate).read_text()):
            return False
        self._spoken += 1
        return True

    def _lacks_model(self, chunk: Chunk) -> bool:
        return chunk.language == self._settings.later and not self._later_loaded

    def _load_later(self, feed: Feed, active: dict[int, tuple[Chunk, float]]) -> None:
        began, length_s = time.monotonic(), self._settings.later_s
        while (gone := time.monotonic() - began) < length_s:
            self._progress(gone / length_s, f"pretending to load {self._settings.later}")
            for chunk_id in [chunk_id for chunk_id in active if feed.cancelled(chunk_id)]:
                del active[chunk_id]
            time.sleep(_STEP_S)
        self._later_loaded = not self._settings.later_fails
        self._progress(1.0, "")

    def _speak(self, chunk: Chunk) -> Iterator[Event]:
        asked = _options(chunk)
        if self._lacks_model(chunk):
            error = f"the model of {chunk.language} cannot be loaded (unset later_fails)"
            yield ChunkFailed(chunk.id, error, kind="unavailable")
            return
        if self._settings.record:
            _append(self._settings.record, msgspec.json.encode((chunk.text, chunk.seed)) + b"\n")
        if asked.hang:
            _hang()
        if asked.crash or self._is_cursed(chunk.text):
            os.kill(os.getpid(), signal.SIGKILL)
        if asked.raises:
            raise RuntimeError(f"scripted was told to raise at {chunk.text!r}")
        if asked.fail is not False:
            error = "scripted was told to fail" if asked.fail is True else asked.fail
            yield ChunkFailed(chunk.id, error, asked.retryable, asked.kind)
        elif (kind := self._kind(chunk, asked)) == "no_memory":
            yield ChunkFailed(chunk.id, "out of memory", retryable=True, kind="out_of_memory")
        elif kind == "busy":
            yield ChunkFailed(chunk.id, "too many requests", retryable=True, retry_after_s=self._settings.busy_s)
        elif kind != "nothing":
            rate = self._settings.rate
            pcm = self._pcm(chunk, kind)
            words = _words(chunk.text, pcm.size) if self._settings.words else ()
            for before, after in itertools.pairwise(words if kind == "tone" else ()):
                pcm[before.end : after.start] = 0.0
            yield Take(chunk.id, pcm, rate // 2 if kind == "wrong_rate" else rate, words=words)

    def _kind(self, chunk: Chunk, asked: ScriptedOptions) -> PcmKind:
        if not asked.takes:
            return asked.pcm
        nth = self._takes_given[chunk.text]
        self._takes_given[chunk.text] += 1
        return asked.takes[min(nth, len(asked.takes) - 1)]

    def _is_cursed(self, text: str) -> bool:
        if not self._settings.curse:
            return False
        words = Path(self._settings.curse).read_text()
        return bool(words) and words in text

    def _pcm(self, chunk: Chunk, kind: PcmKind) -> Pcm:
        samples = max(1, round(len(chunk.text) * self._settings.seconds_per_char * self._settings.rate))
        seed = chunk.seed if self._settings.seed else os.urandom(8).hex()
        source = f"{seed}:{chunk.text}{_options(chunk).instructions}"
        digest = hashlib.sha256(source.encode()).digest()
        if kind == "empty":
            return np.zeros(0, np.float32)
        if kind == "silence":
            return np.zeros(samples, np.float32)
        if kind == "nan":
            return np.full(samples, np.nan, np.float32)
        if kind == "noise":
            noise = np.random.default_rng(list(digest)).uniform(-0.5, 0.5, samples)
            return noise.astype(np.float32)
        if kind in ("speech", "looped", "clipped", "hissing"):
            return _speech(kind, samples, self._settings.rate, np.random.default_rng(list(digest)))
        hertz = (100 + digest[0]) * (2 if chunk.voice.name == "high" else 1)
        if self._settings.cloning and chunk.voice.material:
            with chunk.voice.material.local() as recording:
                hertz = 500 + 4 * hashlib.sha256(recording.read_bytes()).digest()[0]
        phase = 2 * np.pi * hertz / self._settings.rate * np.arange(samples)
        tone: Pcm = (0.5 * np.sin(phase)).astype(np.float32)
        return tone


def _words(text: str, samples: int) -> tuple[WordTime, ...]:
    """Return times of the words, each with the share of the samples that its letters have of the text."""
    share = samples / max(1, len(text))
    return tuple(
        WordTime(round(found.start() * share), round(found.end() * share), found.group())
        for found in re.finditer(r"\S+", text)
    )


def _speech(kind: PcmKind, samples: int, rate: int, rng: np.random.Generator) -> Pcm:
    syllable = rate * 180 // 1000
    envelope = np.sin(np.pi * np.arange(syllable) / syllable) ** 2
    time_s = np.arange(syllable) / rate
    parts = []
    for _ in range(-(-samples // syllable)):
        harmonics = rng.uniform(90, 130) * np.arange(1, 17)
        colours = 10 ** rng.uniform(-1.5, 0, harmonics.size)
        wave = colours @ np.sin(2 * np.pi * harmonics[:, None] * time_s + rng.uniform(0, 6, harmonics.size)[:, None])
        parts.append(wave * envelope * rng.uniform(0.5, 1.0))
    pcm = np.concatenate(parts)[:samples]
    pcm *= 0.5 / np.abs(pcm).max()
    if kind == "looped":
        pcm = np.concatenate((pcm, np.tile(pcm[:rate], 5)))
    elif kind == "clipped":
        pcm = np.clip(6 * pcm, -1, 1)
    elif kind == "hissing":
        pcm = np.concatenate((pcm, rng.normal(0, 0.03, 2 * rate)))
    return pcm.astype(np.float32)


def _options(chunk: Chunk) -> ScriptedOptions:
    asked: ScriptedOptions = chunk.options
    return asked if asked.only in chunk.text else ScriptedOptions()


def _delay_s(chunk: Chunk) -> float:
    asked = _options(chunk)
    return asked.delay_s + asked.chunk_delay_s


def _append(path: str, line: bytes) -> None:
    # One write in append mode: lines of several workers never mix, and a kill cuts none.
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def _hang() -> None:
    while True:
        time.sleep(3600)

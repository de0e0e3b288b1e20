"""The embedded voice: hibari-tts speaks with one American English voice on the CPU, offline.

Source: hibari-tts 0.2.1 on PyPI (Apache-2.0; its weights are distilled from Kokoro-82M, Apache-2.0).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from backends.interface import (
    BackendContext,
    BackendUnavailable,
    Capabilities,
    Chunk,
    ChunkFailed,
    ChunkRule,
    Event,
    Feed,
    Limit,
    NoOptions,
    NoSettings,
    Pcm,
    Progress,
    Take,
    Voice,
)

_PACKAGE = "hibari-tts"
_CURE = f"pip install {_PACKAGE}==0.2.1"
_VOICE = "heart"


class HibariBackend:
    """The embedded backend: one engine with one thread per worker process (measured: 1.9x on two cores)."""

    name = "hibari"
    api_version = 1
    Settings = NoSettings
    RequestOptions = NoOptions

    def __init__(self, settings: NoSettings, context: BackendContext) -> None:
        self._engine: Any = None

    def capabilities(self) -> Capabilities:
        """See Backend. Short chunks start sooner and sound no worse: the model reads one sentence at a time."""
        return Capabilities(
            languages=("en-US",), sample_rate=24_000, chunk=ChunkRule(40, 40, Limit(280)), seed=True, workers=0
        )

    def voices(self) -> tuple[Voice, ...]:
        """List the one voice inside the package; hibari's other voices would need a download."""
        known = msgspec.json.decode((_assets() / "voices.json").read_bytes())
        return (Voice(_VOICE, ("en-US",), str(known[_VOICE]["sha256"]), "American English, from hibari-tts", "female"),)

    def revision(self) -> str:
        """Return the version of the package and a hash of the sizes of its models and lexicons."""
        files = sorted((path.name, path.stat().st_size) for path in _assets().iterdir() if path.is_file())
        return f"{importlib.metadata.version(_PACKAGE)}-{hashlib.sha256(repr(files).encode()).hexdigest()[:12]}"

    def load(self, progress: Progress) -> None:
        """Load the model and the lexicons, and speak a word so that the first chunk is not slower. About a second."""
        progress(0.1, "importing onnxruntime")
        # Set before the import: onnxruntime would keep an id of this machine in the home folder and send telemetry.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            from hibari import Hibari  # type: ignore[import-untyped]
        except ImportError as error:
            raise BackendUnavailable(f"hibari cannot be imported: {error}", _CURE) from error
        progress(0.4, "loading the model")
        self._engine = Hibari(voice=_VOICE, threads=1)
        progress(0.7, "loading the lexicon")
        self._engine("Ready.", seed=0)

    def synthesize(self, feed: Feed) -> Iterator[Event]:
        """Speak chunk by chunk."""
        while chunks := feed.take(1, wait=True):
            for chunk in chunks:
                if feed.cancelled(chunk.id):
                    continue
                yield self._speak(chunk)

    def _speak(self, chunk: Chunk) -> Event:
        script = foreign_script(chunk.text)
        pcm: Pcm = np.zeros(0, np.float32)
        if script is None:
            try:
                pcm = self._engine(readable(chunk.text), 1.0, seed=chunk.seed)
            except (ValueError, LookupError, TypeError) as error:
                # The engine has no rule for this text; another try gives the same error.
                why = f"this voice cannot read this text ({type(error).__name__}): spell out its figures and symbols"
                return ChunkFailed(chunk.id, why, kind="unsupported_text")
        if pcm.size:
            return Take(chunk.id, pcm, 24_000)
        error_text = f"this voice cannot speak {script or 'this text'}: it speaks English"
        return ChunkFailed(chunk.id, error_text, kind="unsupported_text")

    def unload(self) -> None:
        """Free the engine."""
        self._engine = None


def readable(text: str) -> str:
    """Rewrite numbers that hibari cannot read.

    It has no names for numbers above the decillions: longer ones are read digit by digit. A raised figure becomes a
    power (`10⁻⁶` is "10 to the minus 6"); hibari reads ² and ³ itself.
    """
    text = _LONG_NUMBER.sub(lambda found: " ".join(filter(str.isdigit, found[0])), text)
    return _POWER.sub(_power, text)


_LONG_NUMBER = re.compile(r"\d(?:,?\d){36,}")
_RAISED_MINUS = "\u207b"
_POWER = re.compile("([\u207a\u207b]?)([\u00b9\u00b2\u00b3\u2070\u2074-\u2079]+)")


def _power(found: re.Match[str]) -> str:
    sign, figures = found.groups()
    if not sign and figures in ("\u00b2", "\u00b3"):
        return found[0]
    number = ("minus " if sign == _RAISED_MINUS else "") + "".join(str(unicodedata.digit(each)) for each in figures)
    before = found.string[max(0, found.start() - 2) : found.start()].strip()
    is_note = not before or (len(before) == 2 and before.isalpha())  # a footnote mark after a word, or alone
    return f" {number} " if is_note else f" to the {number} "


def foreign_script(text: str) -> str | None:
    """Name the script of the first word that is not in Latin letters; None if there is none.

    A single letter does not count: a π or a µ in an English sentence is left to the engine.
    """
    previous: str | None = None
    for character in text:
        script = _script(character)
        if script is not None and (script == previous or script in _ONE_IS_A_WORD):
            return _SCRIPT_NAMES.get(script, f"{script.title()} script")
        if not unicodedata.combining(character):
            previous = script
    return None


_ONE_IS_A_WORD = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL"})
_SCRIPT_NAMES = {"CJK": "Chinese characters"}
_NO_SCRIPT = frozenset(
    {"LATIN", "MODIFIER", "FEMININE", "MASCULINE", "MICRO", "FULLWIDTH", "MATHEMATICAL", "SUPERSCRIPT"}
)


def _script(character: str) -> str | None:
    if character.isascii() or not character.isalpha():
        return None
    script = unicodedata.name(character, "UNKNOWN").split()[0]
    return None if script in _NO_SCRIPT else script


def _assets() -> Path:
    spec = importlib.util.find_spec("hibari")
    if spec is None or spec.origin is None:
        raise BackendUnavailable("hibari-tts is not installed", _CURE)
    return Path(spec.origin).parent / "assets"

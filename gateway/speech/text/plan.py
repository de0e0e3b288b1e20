"""Makes the plan of an utterance: its chunks, pauses and marks in order."""

from __future__ import annotations

from importlib.metadata import version
from typing import TypeAlias

import msgspec

from backends.interface import ChunkRule, Limit
from gateway.errors import InvalidInput
from gateway.speech.text.chunking import Ending, chunk_paragraph, split_text
from gateway.speech.text.cleaning import clean, has_speech
from gateway.speech.text.segmenter import paragraph_sentences, paragraphs, sentences
from gateway.speech.text.spell import SPELL_VERSION, spell_out

PLANNER_VERSION = f"2+sentencex-{version('sentencex')}"
"""Part of every cache key. Its number is raised whenever the same text and takes would give other audio: after a change
of cuts, pauses, trimming or stretching."""

PAUSE_MS: dict[Ending, int] = {"paragraph": 600, "sentence": 300, "clause": 150, "phrase": 20}
_LONGEST_NATURAL_PAUSE_MS = 2000
_SMALLEST_MAX_CHARS = 20
SLOWEST, FASTEST = 0.5, 2.0
"""Limits of the speed of speech: of the request, and of its speed times a segment's rate."""

MAX_CHUNKS = 300_000
"""Most chunks of one utterance. 10 MB of prose give about 250,000 chunks for an engine that wants short ones."""


class Speak(msgspec.Struct, frozen=True, tag="speak", omit_defaults=True):
    """A segment that is spoken: one chunk.

    Args:
        text: as the engine gets it.
        written: the author's words if a dictionary respelled them; None means `text`.
        ssml: the same text for engines that read SSML.
        voice: None means the request's.
        language: BCP 47; None means the request's.
        rate: multiplies the request's speed.
        gain: in dB.
        kind: the kind of boundary that ended it.
    """

    text: str
    ssml: str | None = None
    voice: str | None = None
    language: str | None = None
    rate: float = 1.0
    gain: float = 0.0
    kind: Ending = "sentence"
    written: str | None = None

    @property
    def shown(self) -> str:
        """Return the author's words, for subtitles and chunk times."""
        return self.text if self.written is None else self.written


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """A pause. An exact one keeps its length; a natural one scales with 1/speed."""

    ms: int
    exact: bool = False

    def samples(self, speed: float, rate: int) -> int:
        """Return its length in samples of the finished audio at `rate` Hz."""
        return round(self.ms / 1000 / (1.0 if self.exact else speed) * rate)


class Mark(msgspec.Struct, frozen=True, tag="mark"):
    """A named place whose time is reported to the caller."""

    name: str


Segment: TypeAlias = Speak | Pause | Mark


class Plan(msgspec.Struct, frozen=True):
    """The plan of an utterance: its segments in order, at least one of them `Speak`."""

    segments: tuple[Segment, ...]

    @property
    def speaks(self) -> tuple[Speak, ...]:
        """Return the chunks in order."""
        return tuple(segment for segment in self.segments if isinstance(segment, Speak))

    @property
    def chars(self) -> int:
        """Return the characters to be spoken, which usage and cost count."""
        return sum(len(speak.text) for speak in self.speaks)


def planner_version(spelled_out: bool) -> str:
    """Return the version of the planner, for the cache key."""
    return f"{PLANNER_VERSION}+spell-{SPELL_VERSION}" if spelled_out else PLANNER_VERSION


def make_plan(
    text: str, language: str, rule: ChunkRule, max_chars: int | None = None, *, spelled_out: bool = False
) -> Plan:
    """Plan plain text. Takes linear time; a text without letter or digit gives a plan without chunks.

    A chunk never spans two paragraphs. A piece without letter or digit (a row of stars) becomes a longer pause.

    Args:
        language: BCP 47.
        rule: of the backend that will speak.
        max_chars: lowers the rule's maximum; see `clamp_max_chars`.
        spelled_out: numbers and abbreviations become words first; the chunks hold these words.

    Raises:
        InvalidInput: the text has more than MAX_CHUNKS chunks.
    """
    rule, _ = clamp_max_chars(rule, max_chars)
    segments: list[Segment] = []
    pause_ms = 0
    text = clean(text)
    if spelled_out:
        text = spell_out(text, language)
    for runs in paragraphs(text):
        for chunk, ending in chunk_paragraph(paragraph_sentences(runs, language), rule):
            if not has_speech(chunk):
                pause_ms += PAUSE_MS[ending]
                continue
            if segments:
                segments.append(Pause(min(pause_ms, _LONGEST_NATURAL_PAUSE_MS)))
            segments.append(Speak(chunk, kind=ending))
            pause_ms = PAUSE_MS[ending]
            if len(segments) > 2 * MAX_CHUNKS:
                raise InvalidInput(
                    f"the text has more than {MAX_CHUNKS} chunks, the most for one request, since its paragraphs are "
                    "very short; split it into several requests"
                )
    return Plan(tuple(segments))


def split_again(text: str, language: str, rule: ChunkRule) -> list[str]:
    """Split a chunk that its engine calls too long into pieces, each at most about half of it.

    Returns one piece if the text cannot be split further.
    """
    half = max(1, -(-len(text) // 2))
    smaller = ChunkRule(min_chars=min(rule.min_chars, half), target_chars=half, max=Limit(half))
    merged = chunk_paragraph(sentences(text, language), smaller)
    pieces = [piece for chunk, _ in merged for piece, _ in split_text(chunk, smaller)]
    return [piece for piece in pieces if has_speech(piece)] or [text]


def clamp_max_chars(rule: ChunkRule, asked: int | None) -> tuple[ChunkRule, str | None]:
    """Return the backend's rule limited by MAX_CHARS_PER_CHUNK, and a warning if the setting was out of range.

    The setting lowers the maximum. It cannot raise it, since the engine would cut off or refuse the text.
    """
    if asked is None:
        return rule, None
    limit, warning = rule.max, None
    wanted = asked
    if asked > limit.n:
        unit = "characters" if limit.unit == "chars" else "bytes of UTF-8"
        warning = f"max_chars_per_chunk {asked} is above what this backend can speak at once; {limit.n} {unit} are used"
        wanted = limit.n
    elif asked < _SMALLEST_MAX_CHARS:
        wanted = min(_SMALLEST_MAX_CHARS, limit.n)
        warning = f"max_chars_per_chunk {asked} is too small to hold a phrase; {wanted} is used"
    if wanted == limit.n:
        return rule, warning
    # A text never has fewer bytes than characters, so a byte limit of `wanted` also limits the characters.
    lowered = ChunkRule(min(rule.min_chars, wanted), min(rule.target_chars, wanted), Limit(wanted, limit.unit))
    return lowered, warning

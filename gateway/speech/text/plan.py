"""The plan of an utterance: what is spoken, in which pieces, with which pauses."""

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

PLANNER_VERSION = f"1+sentencex-{version('sentencex')}"
"""Part of every cache key. Its number goes up whenever the same text and the same takes would become other audio:
other cuts, other pauses, another way to trim or to change the tempo."""

PAUSE_MS: dict[Ending, int] = {"paragraph": 600, "sentence": 300, "clause": 150, "phrase": 20}
_LONGEST_NATURAL_PAUSE_MS = 2000
_SMALLEST_MAX_CHARS = 20
MAX_CHUNKS = 300_000
"""Of one utterance: of 10 MB of prose an engine that wants short chunks makes about 250,000."""


class Speak(msgspec.Struct, frozen=True, tag="speak", omit_defaults=True):
    """One chunk.

    Args:
        text: as the engine gets it.
        written: what its author wrote, where a dictionary respelled it; None means the text.
        ssml: the same for engines that read SSML.
        voice: None means the request's.
        language: BCP 47; None means the request's.
        rate: multiplies the request's speed.
        gain: in dB.
        kind: what ended it.
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
        """The words of its author."""
        return self.text if self.written is None else self.written


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """Silence; an exact one is kept to the millisecond, a natural one scales with 1/speed."""

    ms: int
    exact: bool = False

    def samples(self, speed: float, rate: int) -> int:
        """Its length in finished audio at `rate` Hz."""
        return round(self.ms / 1000 / (1.0 if self.exact else speed) * rate)


class Mark(msgspec.Struct, frozen=True, tag="mark"):
    """A place whose time the caller wants to know."""

    name: str


Segment: TypeAlias = Speak | Pause | Mark


class Plan(msgspec.Struct, frozen=True):
    """The segments of an utterance in order; at least one of them is `Speak`."""

    segments: tuple[Segment, ...]

    @property
    def speaks(self) -> tuple[Speak, ...]:
        """The chunks in order."""
        return tuple(segment for segment in self.segments if isinstance(segment, Speak))

    @property
    def chars(self) -> int:
        """Characters to be spoken, which is what is counted and paid."""
        return sum(len(speak.text) for speak in self.speaks)


def planner_version(spelled_out: bool) -> str:
    """What made a plan, for its cache key."""
    return f"{PLANNER_VERSION}+spell-{SPELL_VERSION}" if spelled_out else PLANNER_VERSION


def make_plan(
    text: str, language: str, rule: ChunkRule, max_chars: int | None = None, *, spelled_out: bool = False
) -> Plan:
    """Plan plain text. Linear in its length; a text without letter or digit gives a plan without chunks.

    A paragraph never shares a chunk. What has no letter or digit (a row of stars) becomes a longer pause.

    Args:
        language: BCP 47.
        rule: of the backend that will speak.
        max_chars: lowers the rule's maximum; see `clamp_max_chars`.
        spelled_out: numbers and abbreviations become words first; the chunks hold these words.

    Raises:
        InvalidInput: it has more than MAX_CHUNKS.
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
                    f"the text has more than {MAX_CHUNKS} chunks, since its paragraphs are very short; one request may "
                    "have as many: send it in several"
                )
    return Plan(tuple(segments))


def split_again(text: str, language: str, rule: ChunkRule) -> list[str]:
    """The pieces of a chunk its engine called too long, each at most about half of it.

    One piece comes back when the text cannot be divided any further; the engine then has to refuse it.
    """
    half = max(1, -(-len(text) // 2))
    smaller = ChunkRule(min_chars=min(rule.min_chars, half), target_chars=half, max=Limit(half))
    merged = chunk_paragraph(sentences(text, language), smaller)
    pieces = [piece for chunk, _ in merged for piece, _ in split_text(chunk, smaller)]
    return [piece for piece in pieces if has_speech(piece)] or [text]


def clamp_max_chars(rule: ChunkRule, asked: int | None) -> tuple[ChunkRule, str | None]:
    """The backend's rule under MAX_CHARS_PER_CHUNK, and a warning where that could not be had.

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
    # Bytes are never fewer than characters, so a byte limit lowered to `wanted` keeps both promises.
    lowered = ChunkRule(min(rule.min_chars, wanted), min(rule.target_chars, wanted), Limit(wanted, limit.unit))
    return lowered, warning

"""Makes the script of an utterance: its chunks, each with all that its take needs.

The script follows from request, plan and arm, so any server can compute it and read the utterance's takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from backends.interface import Voice
from gateway.cache.keys import Source, take_key
from gateway.speech.text.plan import Plan, Speak
from gateway.speech.text.seeds import chunk_seed, occurrences


class VoiceUse(msgspec.Struct, frozen=True):
    """A voice and the language it speaks in.

    Args:
        source: backend, voice, language and options, as the keys of its takes have them.
        uploaded: the tenant uploaded the voice.
    """

    voice: Voice
    source: Source
    uploaded: bool = False


class PlanVoices(msgspec.Struct, frozen=True):
    """The voices that a plan may name.

    Args:
        request: the request's voice in the request's language.
        named: the others, by voice and language as a segment names them.
    """

    request: VoiceUse
    named: Mapping[tuple[str | None, str | None], VoiceUse] = {}

    def of(self, speak: Speak) -> VoiceUse:
        """Return the voice of a segment."""
        if speak.voice is None and speak.language is None:
            return self.request
        return self.named[speak.voice, speak.language]

    def scoped(self, scope: str) -> PlanVoices:
        """Return the same voices with the takes of another scope."""
        return PlanVoices(_scoped(self.request, scope), {name: _scoped(use, scope) for name, use in self.named.items()})

    @property
    def all(self) -> tuple[VoiceUse, ...]:
        """Return every voice, the request's first."""
        return (self.request, *self.named.values())


def _scoped(use: VoiceUse, scope: str) -> VoiceUse:
    return msgspec.structs.replace(use, source=msgspec.structs.replace(use.source, scope=scope))


class PlannedChunk(msgspec.Struct, frozen=True):
    """One chunk of a script.

    Args:
        index: of the chunk in the utterance.
        speak: its segment: text, SSML, gain, and the words that are shown.
        nth: number of earlier chunks with the same text; the seed depends on it and not on `index`.
        key: of its take.
        use: the voice that speaks it, and the language.
        speed: the request's speed times the segment's rate.
    """

    index: int
    speak: Speak
    nth: int
    seed: int
    key: str
    use: VoiceUse
    speed: float

    @property
    def text(self) -> str:
        """Return the text that the engine gets."""
        return self.speak.text


def planned_chunks(
    plan: Plan, voices: PlanVoices, request_seed: int | None, speed: float = 1.0
) -> tuple[PlannedChunk, ...]:
    """Return the script of a plan on one arm."""
    speaks = plan.speaks
    return tuple(
        planned_chunk(index, speak, nth, voices.of(speak), request_seed, speed_of(speak, speed))
        for index, (speak, nth) in enumerate(zip(speaks, occurrences(speak.text for speak in speaks), strict=True))
    )


def planned_chunk(
    index: int, speak: Speak, nth: int, use: VoiceUse, request_seed: int | None, speed: float
) -> PlannedChunk:
    """Return one chunk of a script; seed and key depend on its text and never on its position."""
    seed = chunk_seed(request_seed or 0, speak.text, nth, 0)
    return PlannedChunk(index, speak, nth, seed, take_key(use.source, speak.text, speak.ssml, seed), use, speed)


def pieces_of(chunk: PlannedChunk, texts: Iterable[str], request_seed: int | None) -> tuple[PlannedChunk, ...]:
    """Return a chunk in pieces with these texts, spoken in the same way."""
    speaks = [msgspec.structs.replace(chunk.speak, text=text, written=None) for text in texts]
    return tuple(
        planned_chunk(chunk.index, speak, nth, chunk.use, request_seed, chunk.speed)
        for speak, nth in zip(speaks, occurrences(speak.text for speak in speaks), strict=True)
    )


def speed_of(speak: Speak, speed: float) -> float:
    """Return the speed of a segment in a request of this speed."""
    return speed if speak.rate == 1.0 else speed * speak.rate

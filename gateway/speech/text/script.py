"""The script of an utterance: each chunk with the seed and the key of its take.

Whoever knows request, plan and arm knows the script: the speaker, and any server that reads an utterance's takes.
"""

from __future__ import annotations

import msgspec

from gateway.cache.keys import Source, take_key
from gateway.speech.text.plan import Plan
from gateway.speech.text.seeds import chunk_seed, occurrences


class PlannedChunk(msgspec.Struct, frozen=True):
    """One chunk to be spoken.

    Args:
        index: its place in the utterance.
        nth: how often the same text came before; with it a chunk keeps its seed wherever it stands.
        key: of its take.
    """

    index: int
    text: str
    nth: int
    seed: int
    key: str


def planned_chunks(plan: Plan, source: Source, request_seed: int | None) -> tuple[PlannedChunk, ...]:
    """The script of a plan on one arm."""
    texts = [speak.text for speak in plan.speaks]
    return tuple(
        planned_chunk(index, text, nth, source, request_seed)
        for index, (text, nth) in enumerate(zip(texts, occurrences(texts), strict=True))
    )


def planned_chunk(index: int, text: str, nth: int, source: Source, request_seed: int | None) -> PlannedChunk:
    """One line: its seed and key come from its text, never from its position."""
    seed = chunk_seed(request_seed or 0, text, nth, 0)
    return PlannedChunk(index, text, nth, seed, take_key(source, text, None, seed))

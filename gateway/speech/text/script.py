"""Makes the script of an utterance: its chunks, each with the seed and the key of its take.

The script follows from request, plan and arm, so any server can compute it and read the utterance's takes.
"""

from __future__ import annotations

import msgspec

from gateway.cache.keys import Source, take_key
from gateway.speech.text.plan import Plan
from gateway.speech.text.seeds import chunk_seed, occurrences


class PlannedChunk(msgspec.Struct, frozen=True):
    """One chunk of a script.

    Args:
        index: of the chunk in the utterance.
        nth: number of earlier chunks with the same text; the seed depends on it and not on `index`.
        key: of its take.
    """

    index: int
    text: str
    nth: int
    seed: int
    key: str


def planned_chunks(plan: Plan, source: Source, request_seed: int | None) -> tuple[PlannedChunk, ...]:
    """Return the script of a plan on one arm."""
    texts = [speak.text for speak in plan.speaks]
    return tuple(
        planned_chunk(index, text, nth, source, request_seed)
        for index, (text, nth) in enumerate(zip(texts, occurrences(texts), strict=True))
    )


def planned_chunk(index: int, text: str, nth: int, source: Source, request_seed: int | None) -> PlannedChunk:
    """Return one chunk of a script; seed and key depend on its text and never on its position."""
    seed = chunk_seed(request_seed or 0, text, nth, 0)
    return PlannedChunk(index, text, nth, seed, take_key(source, text, None, seed))

"""English texts to speak: any number of different sentences, the same in every run."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

_WHO = ("The captain", "My neighbour", "Our teacher", "The old gardener", "A young doctor", "The night porter")
_DID = ("opened", "painted", "carried", "remembered", "repaired", "described")
_WHAT = ("the green door", "a heavy suitcase", "the broken clock", "an empty bottle", "the wooden boat", "every letter")
_WHEN = (
    "before the rain began", "while the others were asleep", "and said nothing about it", "as if it were easy",
    "because nobody else had time", "long after the last train had left", "in the light of a small lamp",
)  # fmt: skip


def sentences(seed: int = 1) -> Iterator[str]:
    """Yield sentences of 50 to 120 characters that never repeat."""
    chance = random.Random(seed)
    for number in itertools.count(1):
        tail = f", {chance.choice(_WHEN)}" if chance.random() < 0.6 else ""
        yield (
            f"{chance.choice(_WHO)} {chance.choice(_DID)} {chance.choice(_WHAT)} in room {number} "
            f"{chance.choice(_WHEN)}{tail}."
        )


def short_sentences(seed: int = 1) -> Iterator[str]:
    """Yield sentences of about 40 characters that never repeat."""
    chance = random.Random(seed)
    for number in itertools.count(1):
        yield f"{chance.choice(_WHO)} {chance.choice(_DID)} {chance.choice(_WHAT)} at {number}."


def story(characters: int, seed: int = 1) -> str:
    """Return paragraphs of five sentences with at least `characters` characters in total."""
    source = sentences(seed)
    paragraphs: list[str] = []
    length = 0
    while length < characters:
        paragraphs.append(" ".join(itertools.islice(source, 5)))
        length += len(paragraphs[-1]) + 2
    return "\n\n".join(paragraphs)

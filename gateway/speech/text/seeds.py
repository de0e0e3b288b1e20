"""Computes the seed of a chunk from its text; position and neighbouring chunks do not change it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable


def chunk_seed(request_seed: int, text: str, nth: int, retry: int = 0) -> int:
    """Return the seed an engine gets for one chunk, 0 to 2**63 - 1.

    Args:
        request_seed: the caller's seed; 0 if there is none.
        text: of the chunk.
        nth: number of earlier chunks with the same text in the plan, so that repeated lines sound different.
        retry: 0 for the first try; one more for each retry.
    """
    digest = hashlib.sha256(f"voxgate-seed-1\n{request_seed}\n{nth}\n{retry}\n{text}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def occurrences(texts: Iterable[str]) -> list[int]:
    """Return for each text the number of equal texts before it: the `nth` of `chunk_seed`."""
    seen: Counter[str] = Counter()
    counts = []
    for text in texts:
        counts.append(seen[text])
        seen[text] += 1
    return counts

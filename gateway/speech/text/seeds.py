"""The seed of a chunk, which depends on what is said and never on position or company."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable


def chunk_seed(request_seed: int, text: str, nth: int, retry: int = 0) -> int:
    """The seed an engine gets for one chunk, 0 to 2**63 - 1.

    Args:
        request_seed: of the caller; 0 when there is none.
        text: of the chunk.
        nth: how often this very text came before in the same plan, so that a refrain is not a copy.
        retry: 0 at first, counted up when a take was rejected and another one is wanted.
    """
    digest = hashlib.sha256(f"voxgate-seed-1\n{request_seed}\n{nth}\n{retry}\n{text}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def occurrences(texts: Iterable[str]) -> list[int]:
    """For each text, how often the same text came before it: the `nth` of `chunk_seed`."""
    seen: Counter[str] = Counter()
    counts = []
    for text in texts:
        counts.append(seen[text])
        seen[text] += 1
    return counts

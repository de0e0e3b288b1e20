"""Finds places where text can be cut without splitting a grapheme cluster, which a reader sees as one character."""

from __future__ import annotations

import regex  # type: ignore[import-untyped]

_ALL_BUT_LAST = regex.compile(r"(\X+)\X")


def cut_before(text: str, at: int, start: int) -> int:
    """Return the last boundary of grapheme clusters (Unicode Standard Annex 29) in (start, at].

    Clusters are counted from `start`, where the piece begins. If one cluster fills all of the piece, `at` is returned.
    """
    if at >= len(text):
        return len(text)
    # The character after the cut shows whether a cluster is split there. Nothing before `start` is given to the
    # library, which would search a row of flags back to its first.
    found = _ALL_BUT_LAST.match(text[start : at + 1])
    return start + int(found.end(1)) if found else at

"""Find the known name that a mistyped one is nearest to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 100
"""Longest name to compare, in characters: a longer one is no typing error, and comparing it would take seconds."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to `name`, ignoring case; None if none is similar."""
    if len(name) > LONGEST:
        return None
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None

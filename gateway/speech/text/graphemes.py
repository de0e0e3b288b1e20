"""Finds places where text can be cut without splitting a grapheme cluster, which a reader sees as one character."""

from __future__ import annotations

import unicodedata

_ZWNJ, _ZWJ = "\u200c", "\u200d"


def is_boundary(text: str, at: int, start: int = 0) -> bool:
    """Return whether a cut before `text[at]` keeps grapheme clusters (Unicode Standard Annex 29) whole.

    Args:
        at: start < at < len(text).
        start: begin of the piece; flags (pairs of regional indicators) are counted from there.
    """
    before, after = text[at - 1], text[at]
    if before < "\u0300" and after < "\u0300":
        return True
    if after in (_ZWJ, _ZWNJ) or before == _ZWJ or _extends(after):
        return False
    if unicodedata.combining(before) == 9:  # a virama joins consonants
        return not after.isalpha()
    if _is_flag_letter(before) and _is_flag_letter(after):
        first = at - 1
        while first > start and _is_flag_letter(text[first - 1]):
            first -= 1
        return (at - first) % 2 == 0
    return not ("\u1100" <= before <= "\uffff" and _is_hangul_syllable(before, after))


def cut_before(text: str, at: int, start: int) -> int:
    """Return the last boundary in (start, at], or `at` itself if one cluster fills all of it."""
    if at >= len(text):
        return len(text)
    for place in range(at, start, -1):
        if is_boundary(text, place, start):
            return place
    return at


def _extends(char: str) -> bool:
    return (
        unicodedata.category(char) in ("Mn", "Mc", "Me")
        or "\U0001f3fb" <= char <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= char <= "\U000e007f"  # tags of subdivision flags
        or char in "\u0e33\u0eb3\uff9e\uff9f"
    )


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _is_hangul_syllable(before: str, after: str) -> bool:
    """Return whether two jamo belong to one syllable: L (L | V | LV | LVT), (V | LV) (V | T), (T | LVT) T."""
    if "\u1100" <= before <= "\u115f":
        return "\u1100" <= after <= "\u11a7" or "\uac00" <= after <= "\ud7a3"
    if "\u1160" <= before <= "\u11a7":
        return "\u1160" <= after <= "\u11ff"
    if "\u11a8" <= before <= "\u11ff":
        return "\u11a8" <= after <= "\u11ff"
    if "\uac00" <= before <= "\ud7a3":
        has_final = (ord(before) - 0xAC00) % 28 != 0
        return ("\u11a8" if has_final else "\u1160") <= after <= "\u11ff"
    return False

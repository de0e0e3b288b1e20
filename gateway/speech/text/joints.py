"""Decides whether a mark without white space after it ends a sentence, or is inside a name or an address."""

from __future__ import annotations

import re

_LONGEST = 40
"""Most characters of each of the two words that are compared; a longer run is no word."""
_BEFORE = re.compile(r"[\"'“‘«‹(\[¿¡]*[^\W\d_][^\W\d_A-Z]+(?:['’-][^\W\d_]+)*[.!?…]+[\"'”’»›)\]]*")
_AFTER = re.compile(r"[\"'“‘«‹(\[¿¡]*([^\W\d_])([^\W\d_]*(?:['’-][^\W\d_]+)*)[,;:.!?…\"'”’»›)\]]*")


def ends_sentence(run: str, at: int) -> bool:
    """Return whether the mark before `at`, where the segmenter cut, ends a sentence.

    A mark ends one before white space, and in scripts without spaces. In other scripts a mark ends one between two
    plain words, the second with a capital (`He left.Then`), and not within `window.__x`, `Node.JS` or
    `example.com/A.B?C=1`.
    """
    after = run[at : at + 1]
    if not after or after.isspace() or run[at - 1].isspace():
        return True
    if not after.isascii() and after.lower() == after.upper() and after not in "ºª°":  # a script without capitals
        return True
    if not run[at - 1].isascii() and run[at - 1] not in "…”’»›":  # the full stop of a script without spaces
        return True
    left = run[max(0, at - _LONGEST) : at].rsplit(None, 1)[-1]
    right = run[at : at + _LONGEST].split(None, 1)[0]
    word = _AFTER.fullmatch(right)
    return bool(_BEFORE.fullmatch(left) and word and word[1].isupper() and word[2] == word[2].lower())

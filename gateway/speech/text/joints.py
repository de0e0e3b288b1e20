"""Ends of sentences that no white space follows: a space that was forgotten, or the inside of a name or an address."""

from __future__ import annotations

import re

_LONGEST = 40
"""Characters of each of the two words that are looked at; what is longer is no word."""
_BEFORE = re.compile(r"[\"'“‘«‹(\[¿¡]*[^\W\d_][^\W\d_A-Z]+(?:['’-][^\W\d_]+)*[.!?…]+[\"'”’»›)\]]*")
_AFTER = re.compile(r"[\"'“‘«‹(\[¿¡]*([^\W\d_])([^\W\d_]*(?:['’-][^\W\d_]+)*)[,;:.!?…\"'”’»›)\]]*")


def ends_sentence(run: str, at: int) -> bool:
    """Whether a mark before `at` ends a sentence there, as a segmenter says.

    It does before white space, and in scripts that are written without any. In others it does between two plain words,
    the second with a capital (`He left.Then`), and not within `window.__x`, `Node.JS` or `example.com/A.B?C=1`.
    """
    after = run[at : at + 1]
    if not after or after.isspace() or run[at - 1].isspace():
        return True
    if not after.isascii() and after.lower() == after.upper():  # a script without capitals
        return True
    if not run[at - 1].isascii() and run[at - 1] not in "…”’»›":  # a full stop of a script without spaces
        return True
    left = run[max(0, at - _LONGEST) : at].rsplit(None, 1)[-1]
    right = run[at : at + _LONGEST].split(None, 1)[0]
    word = _AFTER.fullmatch(right)
    return bool(_BEFORE.fullmatch(left) and word and word[1].isupper() and word[2] == word[2].lower())

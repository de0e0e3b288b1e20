"""Reads a text from left to right once; at each word, figure and sign the first rule that knows it says it.

A rule sees the text as it is written, on both sides of its place, and what a rule has said is never read again. So no
rule takes figures away from another, and the order matters only among rules for the same place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import msgspec

Said: TypeAlias = tuple[int, str]
"""The end of what was read, and its words."""
Rule: TypeAlias = Callable[[str, int], Said | None]

_NUMERALS = "\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209c\u2150-\u218b\u2460-\u24ff\u2776-\u2793\u3251-\u32bf"
"""Numerals that Python counts among the letters."""
_LETTER = rf"[^\W\d_{_NUMERALS}]"
_PLACE = re.compile(rf"(?P<word>{_LETTER}+(?:['’]{_LETTER}+)*)|(?P<figure>\d+)|(?P<sign>[^\s,;:!?\"])")
_SENTENCE_END = re.compile(r"(?:[^\W\d_]{2}(?<!\bal)|[\d)%])[.!?…]+[\"')\]”’]*\s+$|[!?…]+[\"')\]”’]*\s+$")
_LOOKED_BACK = 12


class Rules(msgspec.Struct, frozen=True):
    """The rules of a language, in the order in which they are tried at a place.

    Args:
        words: by the word that begins there.
        glued: for words that a sign or a figure follows without a space.
        figures: for a run of digits.
        signs: by the character that begins there.
        any_sign: for every other sign.
    """

    words: Mapping[str, tuple[Rule, ...]]
    glued: tuple[Rule, ...]
    figures: tuple[Rule, ...]
    signs: Mapping[str, tuple[Rule, ...]]
    any_sign: tuple[Rule, ...]


class Spelled(msgspec.Struct, frozen=True):
    """A piece of a text with the words that are spoken instead."""

    start: int
    end: int
    said: str


def scan(text: str, rules: Rules) -> Iterator[Spelled]:
    """Yield the pieces that rules said, in order."""
    at = 0
    while (place := _PLACE.search(text, at)) is not None:
        start, at = place.span()
        for rule in _tried(text, place, rules):
            said = rule(text, start)
            if said is not None:
                at = max(said[0], start + 1)
                yield Spelled(start, said[0], said[1])
                break


def _tried(text: str, place: re.Match[str], rules: Rules) -> tuple[Rule, ...]:
    kind = place.lastgroup
    if kind == "figure":
        return rules.figures
    if kind == "sign":
        return rules.signs.get(place[0], rules.any_sign)
    known = rules.words.get(place[0], ())
    after = text[place.end() : place.end() + 1]
    whole = not after or after in " \n,;!?" or text[max(0, place.start() - 1) : place.start()].isalnum()
    return known if whole else known + rules.glued


def joined(text: str, pieces: Iterator[Spelled]) -> str:
    """Return the text with the words of the pieces, a space between words that were glued to figures or signs."""
    parts: list[str] = []
    read, last = 0, ""
    for piece in pieces:
        between = text[read : piece.start]
        parts.append(_spaced(last, between))
        last = between[-_LOOKED_BACK:] if len(between) >= _LOOKED_BACK else (last + between)[-_LOOKED_BACK:]
        said = piece.said
        if said[:1].islower() and _SENTENCE_END.search(last):
            said = said[0].upper() + said[1:]  # so that the sentence before it still ends
        parts.append(_spaced(last, said))
        last = (last + said)[-_LOOKED_BACK:]
        read = piece.end
    parts.append(_spaced(last, text[read:]))
    return "".join(parts)


def _spaced(before: str, after: str) -> str:
    glued = before[-1:].isalnum() and after[:1].isalnum()
    return f" {after}" if glued else after

"""Text as it is read aloud: numbers, dates, times, money and abbreviations as words.

For voices that learned from spoken words and stumble over figures. English is done with care, other languages have
their numbers, decimals and percentages read; what no rule knows stays as it is written. Every rule takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.speech.text.spell.english import spell_english
from gateway.speech.text.spell.figures import spell_figures
from gateway.speech.text.spell.numerals import NUMERALS_VERSION, has_numerals

SPELL_VERSION = f"1+rbnf-{NUMERALS_VERSION}"
"""Part of every cache key of spelled out text."""

_PIECE_CHARS = 4000
# Every rule needs a digit, a mark or a fraction (which counts as a letter): of short lines without any there are many.
_LETTERS_ONLY = re.compile(r"(?:[^\W\d_\u00bc-\u00be\u2150-\u215e\u2189]|\s)*+")

__all__ = ["SPELL_VERSION", "can_spell_out", "spell_out"]


def can_spell_out(language: str) -> bool:
    """Whether there are words for the numbers of this language."""
    return has_numerals(language)


def spell_out(text: str, language: str) -> str:
    """The text as it is read aloud; newlines stay where they are.

    Args:
        text: cleaned.
        language: BCP 47; a text in a language without rules comes back as it is.
    """
    if not has_numerals(language):
        return text
    return "".join(_spell(piece, language) for piece in _pieces(text))


def _spell(text: str, language: str) -> str:
    if _LETTERS_ONLY.fullmatch(text):
        return text
    if language.lower().partition("-")[0].partition("_")[0] in ("en", "eng"):
        text = spell_english(text, language)
    return spell_figures(text, language)


def _pieces(text: str) -> Iterator[str]:
    """Lines, long ones cut between sentences, else between words: a rule holds up other threads for one piece only."""
    for line in text.splitlines(keepends=True):
        start = 0
        while len(line) - start > _PIECE_CHARS:
            end = start + _PIECE_CHARS
            cut = max(line.rfind(mark, start, end) for mark in (". ", "! ", "? ")) + 1
            if cut <= start:
                cut = line.rfind(" ", start, end)
            if cut <= start:
                cut = end
            yield line[start:cut]
            start = cut
        yield line[start:]

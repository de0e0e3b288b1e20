"""Spells out text: writes numbers, dates, times, money and abbreviations as words.

For voices that were trained on words and cannot read figures well. English has rules for all of these, German for
times, dates and money, other languages for numbers, decimals and percentages. Text that no rule matches stays as it is.
Every rule takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.speech.text.spell.english import spell_english
from gateway.speech.text.spell.figures import spell_figures
from gateway.speech.text.spell.numerals import NUMERALS_VERSION, has_numerals

SPELL_VERSION = f"2+rbnf-{NUMERALS_VERSION}"
"""Part of every cache key of spelled out text."""

_PIECE_CHARS = 4000
# Every rule needs a digit, a mark or a fraction (which counts as a letter), and many short lines have none.
_LETTERS_ONLY = re.compile(r"(?:[^\W\d_\u00bc-\u00be\u2150-\u215e\u2189]|\s)*+")

__all__ = ["SPELL_VERSION", "can_spell_out", "spell_out"]


def can_spell_out(language: str) -> bool:
    """Return whether numbers of this language can be spelled out."""
    return has_numerals(language)


def spell_out(text: str, language: str) -> str:
    """Return the text spelled out; newlines stay where they are.

    Args:
        text: cleaned.
        language: BCP 47; a text in a language without rules is returned as it is.
    """
    if not has_numerals(language):
        return text
    return "".join(_spell(piece, language) for piece in _pieces(text))


def _spell(text: str, language: str) -> str:
    if language.lower().partition("-")[0].partition("_")[0] in ("en", "eng"):
        return spell_english(text, language)
    return text if _LETTERS_ONLY.fullmatch(text) else spell_figures(text, language)


def _pieces(text: str) -> Iterator[str]:
    """Yield lines; long ones are cut between sentences, else between words, since a rule blocks other threads."""
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

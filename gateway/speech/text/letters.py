"""Finds the scripts of a text and of a language (ISO 15924)."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import langcodes

from gateway.speech.text.language import normalize_language

_SCRIPTS = {
    "ARABIC": "Arab", "ARMENIAN": "Armn", "BENGALI": "Beng", "BOPOMOFO": "Hant", "CJK": "Hans Hant Jpan",
    "CYRILLIC": "Cyrl", "DEVANAGARI": "Deva", "ETHIOPIC": "Ethi", "GEORGIAN": "Geor", "GREEK": "Grek",
    "GUJARATI": "Gujr", "GURMUKHI": "Guru", "HANGUL": "Kore", "HEBREW": "Hebr", "HIRAGANA": "Jpan",
    "KANNADA": "Knda", "KATAKANA": "Jpan", "KHMER": "Khmr", "LAO": "Laoo", "MALAYALAM": "Mlym", "MYANMAR": "Mymr",
    "ORIYA": "Orya", "SINHALA": "Sinh", "TAMIL": "Taml", "TELUGU": "Telu", "THAI": "Thai", "TIBETAN": "Tibt",
}  # fmt: skip
"""Maps the first word of a letter's Unicode name to the scripts of the languages that use the letter."""

_SLICE = 100_000


def scripts_needed(text: str) -> set[frozenset[str]]:
    """Return the scripts of the letters that are not Latin; a language must have one script of each set.

    Letters of scripts that are not in `_SCRIPTS` are ignored.
    """
    letters: set[str] = set()
    for start in range(0, len(text), _SLICE):  # one call for a long text would hold the interpreter's lock
        letters.update(text[start : start + _SLICE])
    heads = {unicodedata.name(letter, "?").split()[0] for letter in letters if letter.isalpha()}
    return {frozenset(_SCRIPTS[head].split()) for head in heads if head in _SCRIPTS}


@lru_cache(maxsize=512)
def script_of(language: str) -> str | None:
    """Return the script a language is usually written in: `ja` is Jpan, `zh-TW` is Hant."""
    return langcodes.Language.get(normalize_language(language)).maximize().script

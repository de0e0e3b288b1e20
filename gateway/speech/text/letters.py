"""Which scripts a text needs, and which one a language is written in (ISO 15924)."""

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
"""The first word of a letter's Unicode name, and the scripts of the languages that use it."""

_SLICE = 100_000


def scripts_needed(text: str) -> set[frozenset[str]]:
    """The scripts of the letters that are not Latin: a language needs one out of each set.

    A letter of no script listed here counts as none.
    """
    letters: set[str] = set()
    for start in range(0, len(text), _SLICE):  # a set of all of a long text would hold the interpreter's lock
        letters.update(text[start : start + _SLICE])
    heads = {unicodedata.name(letter, "?").split()[0] for letter in letters if letter.isalpha()}
    return {frozenset(_SCRIPTS[head].split()) for head in heads if head in _SCRIPTS}


@lru_cache(maxsize=512)
def script_of(language: str) -> str | None:
    """The script a language is usually written in: `ja` is Jpan, `zh-TW` is Hant."""
    return langcodes.Language.get(normalize_language(language)).maximize().script

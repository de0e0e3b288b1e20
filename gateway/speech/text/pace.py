"""Estimates the duration of a spoken text from its characters, within a factor of two."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_LETTER_S = 0.065
# Seconds for one character of scripts whose characters stand for more sound than a Latin letter. Languages differ
# little in syllables per second (5 to 8: Pellegrino, Coupé and Marsico, Language 87, 2011); scripts differ in syllables
# per character.
_SCRIPTS_S = {
    "CJK": 0.21,
    "HIRAGANA": 0.13,
    "KATAKANA": 0.13,
    "HANGUL": 0.18,
    "ETHIOPIC": 0.16,
    "ARABIC": 0.09,  # short vowels are not written
    "HEBREW": 0.09,
}
_DIGIT_S = 0.38  # one word, and in long numbers the word of its place, too
_SIGN_S = 0.4  # %, €, @, +: a word each
_CAPITAL_S = 0.12  # extra time: letters of an acronym may be spelled
_PAUSES_S = {
    ",": 0.2,
    ";": 0.25,
    ":": 0.25,
    ".": 0.35,
    "!": 0.35,
    "?": 0.35,
    "…": 0.4,
    "\n": 0.3,
    "。": 0.35,
    "、": 0.2,
}
_TELLING = 4  # letters of a word whose repetition can be heard, unlike "the" or "of"
_ACRONYM = re.compile(r"[A-Z]{2,}")
_WORD = re.compile(r"\w+")
_MORE_MARKS = re.compile(r"(?<=[.,;:!?…])[.,;:!?…]+")


def seconds_to_speak(text: str) -> float:
    """Estimate the seconds a voice of usual pace needs for a text, inner pauses included."""
    spelled = sum(len(run) for run in _ACRONYM.findall(text))
    return sum(map(_seconds, _MORE_MARKS.sub("", text))) + spelled * _CAPITAL_S


@lru_cache(maxsize=4096)
def _seconds(char: str) -> float:
    category = unicodedata.category(char)
    if category[0] == "L":
        return _SCRIPTS_S.get(unicodedata.name(char, "").partition(" ")[0], _LETTER_S)
    if category[0] == "N":
        return _DIGIT_S
    if category[0] == "S" or char in "%@&#/":
        return _SIGN_S
    return _PAUSES_S.get(char, 0.0)


def repeated_seconds(text: str) -> float:
    """Estimate the seconds of speech that repeat earlier words, since the text repeats them."""
    words = _WORD.findall(text.lower())
    seen: set[str | tuple[str, str]] = set()
    again_s = 0.0
    before = ""
    for word in words:
        if (before, word) in seen or (len(word) >= _TELLING and word in seen):
            again_s += seconds_to_speak(word)
        seen.update((word, (before, word)))
        before = word
    return again_s

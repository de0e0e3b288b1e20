"""Says numbers in English: cardinals, ordinals, years, decimals, digits one by one, plurals of numbers."""

from __future__ import annotations

import re

from gateway.speech.text.spell.numerals import one_by_one, spoken

_LONGEST_COUNTED = 9
"""A longer run of digits without separators is an identifier and is said digit by digit."""
_IRREGULAR = {"foot": "feet", "inch": "inches", "hertz": "hertz", "penny": "pence"}

NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d{1,3}(?:'\d{3})+|\d+)(?![,']\d{3}(?!\d))(?:\.\d+)?"
"""A number with groups of three, of India's two, or without; no comma before more digits ends it."""
_DIGITS = re.compile(r"\D")


def cardinal(digits: str) -> str:
    """Return a whole number as words; long ones without separators digit by digit."""
    bare = _DIGITS.sub("", digits)
    if len(bare) == len(digits) > _LONGEST_COUNTED:
        return one_by_one(bare, "en")
    return spoken(bare, "en")


def ordinal(digits: str) -> str:
    """Return a whole number as an ordinal word."""
    return spoken(_DIGITS.sub("", digits), "en", "ordinal")


def year(digits: str) -> str:
    """Return a year as words: `1905` is nineteen oh-five."""
    return spoken(digits, "en", "year")


def digit_by_digit(digits: str) -> str:
    """Return the words of the single digits."""
    return one_by_one(_DIGITS.sub("", digits), "en")


def number(written: str) -> str:
    """Return a number with or without a decimal point as words."""
    whole, _, fraction = written.partition(".")
    if not fraction:
        return cardinal(whole)
    point = f"point {digit_by_digit(fraction)}"
    return f"{cardinal(whole)} {point}" if whole else point


def plural(words: str) -> str:
    """Return the plural of the last word: nineties, sixes, dollars, feet."""
    before, space, last = words.rpartition(" ")
    head, hyphen, end = last.rpartition("-")
    if end in _IRREGULAR:
        end = _IRREGULAR[end]
    elif end.endswith("y") and end[-2:-1] not in tuple("aeiou"):
        end = f"{end[:-1]}ies"
    else:
        end += "es" if end.endswith(("x", "s", "ch", "sh")) else "s"
    return f"{before}{space}{head}{hyphen}{end}"

"""Writes numbers as words by the rules of Unicode's CLDR (package unicode-rbnf, MIT)."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import Literal, TypeAlias

import langcodes
from unicode_rbnf import RbnfEngine
from unicode_rbnf.engine import NoRuleForNumberError, RulesetNotFoundError

from gateway.speech.text.language import normalize_language

Form: TypeAlias = Literal["cardinal", "ordinal", "year", "day"]

NUMERALS_VERSION = version("unicode-rbnf")
LARGEST = 10**15

# The first rule set that a language has is used. Bare numbers are masculine or neuter in most grammars.
_RULESETS: dict[Form, tuple[str, ...]] = {
    "cardinal": (
        "spellout-numbering",
        "spellout-cardinal",
        "spellout-cardinal-masculine",
        "spellout-cardinal-neuter",
        "spellout-cardinal-reale",
        "spellout-cardinal-common",
        "spellout-cardinal-sinokorean",
    ),
    "ordinal": ("spellout-ordinal", "spellout-ordinal-masculine", "spellout-ordinal-common"),
    "year": ("spellout-numbering-year",),
    "day": ("spellout-ordinal-n", "spellout-ordinal"),  # German: am dritten Mai
}
_RENAMED = {"nb": "no"}


def has_numerals(language: str) -> bool:
    """Return whether numbers of this language can be written as words."""
    return _engine(language) is not None


@lru_cache(maxsize=4096)
def words(number: int, language: str, form: Form = "cardinal") -> str | None:
    """Return a whole number as words; None if the language has no words for it, the form, or so large a number.

    Args:
        language: BCP 47.
    """
    engine = _engine(language)
    if engine is None or abs(number) > LARGEST:
        return None
    for ruleset in _RULESETS[form]:
        if ruleset in engine.rulesets:
            try:
                return engine.format_number(number, ruleset_names=[ruleset]).text.strip()
            except (NoRuleForNumberError, RulesetNotFoundError):
                continue
    return words(number, language) if form == "year" else None


def spoken(digits: str, language: str, form: Form = "cardinal") -> str:
    """Return a number given as digits as words; digit by digit if it is too large or begins with a zero."""
    if len(digits) <= len(str(LARGEST)) and (digits == "0" or not digits.startswith("0")):
        said = words(int(digits), language, form)
        if said is not None:
            return said
    return one_by_one(digits, language)


def one_by_one(digits: str, language: str) -> str:
    """Return the words of the single digits, for telephone numbers and other identifiers."""
    return " ".join(words(int(digit), language) or digit for digit in digits)


@lru_cache(maxsize=256)
def _engine(language: str) -> RbnfEngine | None:
    tag = normalize_language(language)
    base = langcodes.Language.get(tag).prefer_macrolanguage().language or tag
    known = set(RbnfEngine.get_supported_languages())
    for name in (tag.replace("-", "_"), base, _RENAMED.get(base, base)):
        if name in known:
            return RbnfEngine.for_language(name)
    return None

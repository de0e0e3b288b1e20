"""Spells out English: one file for each kind of figure, one pass over the text.

The rules for a place are tried in the order below. What can be read in two ways is left to the rule that looks at its
neighbours: a range before its amounts, a telephone number before its groups, a date before its year.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from gateway.speech.text.spell.english import (
    dates,
    dial,
    maths,
    numbers,
    prefixes,
    ranges,
    roman,
    symbols,
    times,
    titles,
    versions,
    web,
    years,
)
from gateway.speech.text.spell.english.scan import Rule, Rules, Spelled, joined, scan
from gateway.speech.text.spell.english.units import CURRENCIES

_DAY_FIRST = frozenset(("GB", "IE", "AU", "NZ", "IN", "ZA"))

__all__ = ["Spelled", "spell_english"]


def spell_english(text: str, language: str) -> str:
    """Return the text with figures, signs and abbreviations as words.

    Args:
        language: BCP 47; its region decides whether days precede months.
    """
    day_first = language.replace("_", "-").upper().split("-")[-1] in _DAY_FIRST
    return joined(text, scan(text, _rules(day_first)))


@lru_cache(maxsize=2)
def _rules(day_first: bool) -> Rules:
    money = (*ranges.STARTS, *numbers.CURRENCY)
    codes = {name: money for name in CURRENCIES if name.isalpha()}
    signs = {name: money for name in CURRENCIES if len(name) == 1 and not name.isalpha()}
    return Rules(
        words=_together(prefixes.WORDS, dates.WORDS, versions.WORDS, codes, titles.WORDS, roman.WORDS, symbols.WORDS),
        glued=(*web.GLUED, *symbols.GLUED, *money),
        figures=(
            *dates.figure_rules(day_first),
            *times.FIGURES,
            *dial.FIGURES,
            *versions.FIGURES,
            *maths.FIGURES,
            *ranges.FIGURES,
            *numbers.ORDINALS,
            *numbers.AMOUNTS,
            *years.FIGURES,
            *numbers.PLAIN,
        ),
        signs=_together(
            dial.SIGNS,
            prefixes.SIGNS,
            dates.SIGNS,
            years.SIGNS,
            web.SIGNS,
            dict.fromkeys("-−+±", numbers.SIGNED),
            dict.fromkeys("½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒", (*ranges.STARTS, *numbers.CURRENCY)),
            maths.SIGNS,
            signs,
            {".": numbers.POINT},
            symbols.SIGNS,
            titles.SIGNS,
            dict.fromkeys((*maths.SIGNS, *signs, *"½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒№"), symbols.ANY),
        ),
        any_sign=symbols.ANY,
    )


def _together(*tables: Mapping[str, tuple[Rule, ...]]) -> dict[str, tuple[Rule, ...]]:
    rules: dict[str, tuple[Rule, ...]] = {}
    for table in tables:
        for name, found in table.items():
            rules[name] = rules.get(name, ()) + found
    return rules

"""Spells out numbers in any language: whole numbers, decimals, negative numbers, percentages."""

from __future__ import annotations

import re
from functools import lru_cache, partial

import langcodes

from gateway.speech.text.spell.numerals import one_by_one, spoken, words

_POINT = {
    "ar": "فاصلة", "da": "komma", "de": "Komma", "el": "κόμμα", "en": "point", "es": "coma", "fi": "pilkku",
    "fr": "virgule", "he": "נקודה", "hi": "दशमलव", "it": "virgola", "ja": "点", "ko": "점", "ms": "perpuluhan",
    "nb": "komma", "nl": "komma", "no": "komma", "pl": "przecinek", "pt": "vírgula", "ru": "запятая", "sv": "komma",
    "sw": "nukta", "tr": "virgül", "zh": "点",
}  # fmt: skip
_PERCENT = {
    "ar": "{} بالمئة", "da": "{} procent", "de": "{} Prozent", "el": "{} τοις εκατό", "en": "{} percent",
    "es": "{} por ciento", "fi": "{} prosenttia", "fr": "{} pour cent", "he": "{} אחוז", "hi": "{} प्रतिशत",
    "it": "{} per cento", "ja": "{}パーセント", "ko": "{} 퍼센트", "ms": "{} peratus", "nb": "{} prosent",
    "nl": "{} procent", "no": "{} prosent", "pl": "{} procent", "pt": "{} por cento", "ru": "{} процентов",
    "sv": "{} procent", "sw": "asilimia {}", "tr": "yüzde {}", "zh": "百分之{}",
}  # fmt: skip
_DECIMAL_COMMA = frozenset("da de el es fi fr it nb no nl pl pt ru sv tr".split())
_UNSPACED = frozenset(("ja", "zh"))
_CLOCK = re.compile(r"(?<=\d):(?=\d\d(?!\d))")
_GERMAN_TIME = re.compile(r"\b(\d{1,2}):(\d{2}) Uhr\b")
_GERMAN_DAY = re.compile(
    r"\b(\d{1,2})\.(?= (?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember)\b)"
)
_CHINESE_YEAR = re.compile(r"\d{4}(?=年)")
_LONGEST_COUNTED = 9
"""A longer run of digits without separators is read digit by digit, as an identifier."""


def spell_figures(text: str, language: str) -> str:
    """Return the text with its remaining figures as words of its language."""
    base = langcodes.Language.get(language).prefer_macrolanguage().language or language
    comma = base in _DECIMAL_COMMA
    if base == "de":
        text = _GERMAN_DAY.sub(lambda match: words(int(match[1]), "de", "day") or match[0], text)
        text = _GERMAN_TIME.sub(r"\1 Uhr \2", text)
    elif base == "zh":
        text = _CHINESE_YEAR.sub(lambda match: one_by_one(match[0], "zh").replace(" ", ""), text)
    text = _CLOCK.sub(" ", text)
    return _pattern(comma).sub(partial(_figure, language=language, base=base, comma=comma), text)


@lru_cache(maxsize=2)
def _pattern(comma: bool) -> re.Pattern[str]:
    group, point = ("[.\u00a0\u202f ]", ",") if comma else (",", "[.]")
    return re.compile(
        rf"(?P<before>(?<=\w))?(?P<minus>(?<![\w.,)%])[-−])?(?P<turkish>%[ \u00a0]?)?"
        rf"(?P<whole>\d{{1,3}}(?:{group}\d{{3}}(?!\d))+|\d+)(?:{point}(?P<fraction>\d+)(?![.,]?\d))?"
        rf"(?P<percent>[ \u00a0\u202f]?%)?(?P<after>(?=[^\W\d_]))?"
    )


def _figure(match: re.Match[str], language: str, base: str, comma: bool) -> str:
    whole = re.sub(r"\D", "", match["whole"])
    grouped = len(whole) != len(match["whole"])
    said = spoken(whole, language) if grouped or len(whole) <= _LONGEST_COUNTED else one_by_one(whole, language)
    if match["fraction"]:
        said = f"{said} {_POINT.get(base, '.' if not comma else ',')} {one_by_one(match['fraction'], language)}"
    if base in _UNSPACED:
        said = said.replace(" ", "")
    if match["minus"]:
        said = f"{_minus(language)}{said}"
    if match["percent"] or match["turkish"]:
        said = _PERCENT.get(base, "{} %").format(said)
    if base not in _UNSPACED:
        # A number next to a letter (B12) would become one word with it.
        said = (" " if match["before"] is not None else "") + said + (" " if match["after"] is not None else "")
    return said


def _minus(language: str) -> str:
    """Return the word or sign with which the language begins a negative number."""
    minus_one, one = words(-1, language) or "", words(1, language) or ""
    return minus_one.removesuffix(one) if minus_one.endswith(one) else "-"

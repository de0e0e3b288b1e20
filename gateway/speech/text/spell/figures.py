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
_GERMAN_MONTHS = "Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
_GERMAN_TIME = re.compile(r"\b([01]?\d|2[0-4])[:.]([0-5]\d) ?Uhr\b")
_GERMAN_DECADE = re.compile(r"\b(1[1-9]\d0|[2-9]0)er\b")
_GERMAN_DATE = re.compile(r"\b(0?[1-9]|[12]\d|3[01])\. ?(0?[1-9]|1[0-2])\.(?: ?(\d{4})(?!\d))?(?=[\s,;:!?)]|\.?$)")
_EUROS = r"(\d{1,3}(?:\.\d{3})+|\d+)(?:,(\d\d))?"
_GERMAN_MONEY = re.compile(rf"(?<![\d.,]){_EUROS} ?(?:€|EUR\b|Euro\b)|€ ?{_EUROS}(?![\d,])")
_GERMAN_YEAR = re.compile(
    rf"\b((?:{_GERMAN_MONTHS}|Jahre?|seit|bis|ab|Sommer|Herbst|Winter|Frühjahr) )(1[1-9]\d\d)(?!\d|[.,]\d)"
)
_GERMAN_DAY = re.compile(rf"\b(\d{{1,2}})\.(?= (?:{_GERMAN_MONTHS})\b)")
_CHINESE_YEAR = re.compile(r"\d{4}(?=年)")
_LONGEST_COUNTED = 9
"""A longer run of digits without separators is read digit by digit, as an identifier."""


def spell_figures(text: str, language: str) -> str:
    """Return the text with its remaining figures as words of its language."""
    base = langcodes.Language.get(language).prefer_macrolanguage().language or language
    comma = base in _DECIMAL_COMMA
    if base == "de":
        text = _german(text)
    elif base == "zh":
        text = _CHINESE_YEAR.sub(lambda match: one_by_one(match[0], "zh").replace(" ", ""), text)
    text = _CLOCK.sub(" ", text)
    return _pattern(comma).sub(partial(_figure, language=language, base=base, comma=comma), text)


def _german(text: str) -> str:
    """Say what German writes with dots: times, dates, decades, and amounts of money."""
    text = _GERMAN_TIME.sub(lambda match: f"{int(match[1])} Uhr" + (f" {int(match[2])}" if int(match[2]) else ""), text)
    text = _GERMAN_DATE.sub(_german_date, text)
    text = _GERMAN_DAY.sub(lambda match: words(int(match[1]), "de", "day") or match[0], text)
    text = _GERMAN_DECADE.sub(lambda match: f"{spoken(match[1], 'de', 'year')}er", text)
    text = _GERMAN_YEAR.sub(lambda match: match[1] + spoken(match[2], "de", "year"), text)
    return _GERMAN_MONEY.sub(_german_money, text)


def _german_date(match: re.Match[str]) -> str:
    day, month = (words(int(number), "de", "day") for number in match.groups()[:2])
    year = f" {spoken(match[3], 'de', 'year')}" if match[3] else ""
    return f"{day} {month}{year}"


def _german_money(match: re.Match[str]) -> str:
    euros, cents = match[1] or match[3], match[2] or match[4]
    whole = "ein" if euros == "1" else spoken(euros.replace(".", ""), "de")
    return f"{whole} Euro" + (f" {spoken(str(int(cents)), 'de')}" if cents and int(cents) else "")


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

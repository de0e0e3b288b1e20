"""Says years, decades and plurals of figures in English, by what stands around them: 1999, the 1900s, '80s, 100s of."""

from __future__ import annotations

import re

from gateway.speech.text.spell.english.around import char_after, word_after, word_before
from gateway.speech.text.spell.english.prefixes import counts
from gateway.speech.text.spell.english.said import cardinal, plural, year
from gateway.speech.text.spell.english.scan import Rule, Said

_YEAR = re.compile(r"\d{4}(?![\w%]|[.,:]\d|/\d)")
_PLURAL = re.compile(r"(?P<quote>['’])?(?P<digits>\d+)['’]?s(?!\w)")
_ERA = re.compile(r"(\d{1,4}) ?(BCE|BC|CE|AD|B\.C\.E?\.|C\.E\.|A\.D\.)(?!\w)")
_BEFORE_YEARS = frozenset(
    "in since of by from until till before after during late early mid circa year years the spring summer autumn fall "
    "winter and to between around about c ca class vintage through for January February March April May June "
    "July August "
    "September October November December Christmas Easter copyright born died established founded est".split()
)
_COUNTED_NOT = frozenset(
    "is was has its this his yes us as always perhaps means sees saw brings gives makes takes shows gets goes does bus "
    "plus thus across less unless series comes marks sets elections games olympics".split()
)


def is_year(text: str, start: int, digits: str, after: int) -> bool:
    """Return whether four digits are a year: 1100 to 2099, not after `page`, not before things that are counted."""
    if len(digits) != 4 or not 1100 <= int(digits) <= 2099:
        return False
    before = word_before(text, start)
    if counts(before) or text[max(0, start - 1) : start] in ("#", "$", "€", "£", "№", "-", "/"):
        return counts(before) is False and text[max(0, start - 1) : start] in ("-", "/") and False
    if before.lower().rstrip(".") in _BEFORE_YEARS - {
        "of",
        "about",
        "around",
        "the",
        "for",
        "to",
        "and",
        "by",
        "from",
        "after",
    }:
        return True
    following = word_after(text, after) if text[after : after + 1] == " " else ""
    counted = following.islower() and len(following) > 3 and following.endswith("s") and following not in _COUNTED_NOT
    if counted or following in ("people", "men", "women", "children", "percent", "more", "fewer"):
        return before.lower() in ("in", "since", "until", "during")
    return True


def _year(text: str, at: int) -> Said | None:
    found = _YEAR.match(text, at)
    if found is None or _inside_number(text, at):
        return None
    digits = found[0]
    if is_year(text, at, digits, found.end()):
        return found.end(), year(digits)
    # Round hundreds are said as hundreds before things that are counted: fifteen hundred people.
    hundreds = digits.endswith("00") and digits[1] != "0" and int(digits) < 2000
    if hundreds and not counts(word_before(text, at)) and char_after(text, found.end()).islower():
        return found.end(), year(digits)
    return None


def _inside_number(text: str, at: int) -> bool:
    return re.search(r"[.,]$|[\w][.,:/]$", text[max(0, at - 2) : at]) is not None and text[at - 1 : at] in ".,:/"


def _era(text: str, at: int) -> Said | None:
    found = _ERA.match(text, at)
    if found is None or _inside_number(text, at):
        return None
    said = year(found[1]) if len(found[1]) == 4 else cardinal(found[1])
    return found.end(1), said


def _plural(text: str, at: int) -> Said | None:
    found = _PLURAL.match(text, at)
    if found is None or _inside_number(text, at) or text[max(0, at - 1) : at].isdigit():
        return None
    if found["quote"] and (text[max(0, at - 1) : at].isalnum() or len(found["digits"]) != 2):
        return None
    return found.end(), _say_plural(text, found["digits"], found.end())


def _say_plural(text: str, digits: str, after: int) -> str:
    if len(digits) == 4 and digits.endswith("0") and 1100 <= int(digits) <= 2099:
        of = word_after(text, after) == "of"
        if digits == "2000" or (digits == "1000"):
            return "two thousands"
        if of and digits.endswith("00"):
            return plural(year(digits))
        return plural(year(digits))
    rounded = digits.lstrip("1").strip("0") == "" and len(digits) > 2
    if rounded and digits[0] == "1" and digits.count("0") == len(digits) - 1:
        return plural(cardinal(digits).removeprefix("one "))  # 100s of people: hundreds
    if len(digits) == 3 and digits.endswith("0") and not digits.endswith("00"):
        return f"{cardinal(digits[0])} {plural(cardinal(digits[1:]))}"
    return plural(cardinal(digits))


FIGURES: tuple[Rule, ...] = (_plural, _era, _year)
SIGNS: dict[str, tuple[Rule, ...]] = {"'": (_plural,), "’": (_plural,), "‘": (_plural,)}

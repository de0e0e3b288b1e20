"""Says ranges, ratios and scores in English: 10-20%, $5-10, 1990-95, 40–60°C, 3–2, 16:9, 24/7."""

from __future__ import annotations

import re

import msgspec

from gateway.speech.text.spell.english.around import char_after, char_before, word_before
from gateway.speech.text.spell.english.prefixes import counts
from gateway.speech.text.spell.english.quantities import Amount, amount_at, say, say_number, say_unit
from gateway.speech.text.spell.english.said import cardinal, number, ordinal, year
from gateway.speech.text.spell.english.scan import Rule, Said
from gateway.speech.text.spell.english.years import is_year

_DASH = re.compile(
    r"(?P<before>[ \u00a0\u202f]?)(?P<dash>--?|[–—−~〜～]|\.\.\.?|…)"
    r"(?P<after>[ \u00a0\u202f]?)(?=[\d.$€£¥₹A-Z\u00bc-\u00be])"
)
_ORDINALS = re.compile(r"(\d{1,4})(?:st|nd|rd|th)? ?[–—-] ?(\d{1,4})(?:st|nd|rd|th)(?!\w)")
_RATIO = re.compile(r"(\d{1,4})(?: ?: ?(\d{1,4}))(?: ?: ?(\d{1,4}))?(?![\w:]|[.,]\d)")
_SPLIT = re.compile(r"(\d{1,2})/(\d{1,2})(?![\w/]|[.,]\d)")
_SCORES = frozenset(
    "won win wins lost lose loses beat beats score scored scores lead leads led drew tied ahead down finished "
    "victory defeat result vote voted ended up".split()
)
_MATHS = frozenset("=+×÷*/^")


def _range(text: str, at: int) -> Said | None:
    if text[max(0, at - 1) : at].isalnum() or (
        text[max(0, at - 2) : at - 1].isdigit() and text[at - 1 : at] in ".,-–/:"
    ):
        return None
    if text[max(0, at - 1) : at] == "-" and text[max(0, at - 2) : at - 1].isalpha():
        return None  # the number of a name: ISO-8859-1
    first = amount_at(text, at)
    if first is None:
        return None
    dash = _DASH.match(text, first.end)
    if dash is None or (bool(dash["before"]) != bool(dash["after"]) and dash["dash"] != "…"):
        return None
    last = amount_at(text, dash.end(), first.currency if not text[first.end - 1].isalpha() or first.scale else "")
    if last is None or last.minus or text[last.end : last.end + 1].isalnum():
        return None
    if re.match(r"[-–/]\d|[.,:]\d", text[last.end : last.end + 2]):
        return None
    if (
        first.bare
        and last.bare
        and not _are_ends(text, first, last, bool(dash["before"]) and dash["dash"] in ("-", "−"))
    ):
        return None
    return last.end, _say(text, first, last)


def _are_ends(text: str, first: Amount, last: Amount, spaced: bool) -> bool:
    """Return whether two plain numbers are the ends of a range and not the terms of a subtraction."""
    if char_after(text, last.end) in _MATHS or (char_before(text, first.start) in _MATHS and spaced):
        return False
    if not spaced:
        return True
    before = word_before(text, first.start)
    if counts(before) or before.lower() in _SCORES or before.lower() in ("from", "between", "ages", "aged"):
        return True
    return _value(first) < _value(last)


def _value(amount: Amount) -> float:
    return float(re.sub(r"[^\d.]", "", amount.written) or 0)


def _say(text: str, first: Amount, last: Amount) -> str:
    if first.bare and last.bare:
        return f"{first.minus}{_ends(text, first, last)}"
    if first.currency and not last.currency and not last.unit:
        last = msgspec.structs.replace(last, currency=first.currency)
    elif last.currency and not first.currency and (not first.unit or first.unit == "meter"):
        first = msgspec.structs.replace(first, currency=last.currency)
    if first.currency == last.currency and first.unit in ("", last.unit):
        if "." in first.written + last.written and first.currency and not (first.scale or last.scale):
            return f"{say(text, first)} to {say(text, last)}"
        if first.unit == last.unit or not first.unit:
            return f"{say_number(first)} to {say_number(last)} {say_unit(text, last, one=False)}".rstrip()
    return f"{say(text, first)} to {say(text, last)}"


def _ends(text: str, first: Amount, last: Amount) -> str:
    one, other = first.written, last.written
    if not (one.isdigit() and other.isdigit()):
        return f"{number(one)} to {number(other)}"
    if is_year(text, first.start, one, after=last.end):
        if len(other) == 4:
            return f"{year(one)} to {year(other)}"
        if len(other) == 1 and int(one[:3] + other) > int(one):
            other = one[2] + other
        if len(other) == 2 and int(one[:2] + other) > int(one):
            said = year("19" + other).removeprefix("nineteen ").replace("oh-", "oh ")
            return f"{year(one)} to {said if other != '00' else 'hundred'}"
    return f"{cardinal(one)} to {cardinal(other)}"


def _ordinals(text: str, at: int) -> Said | None:
    found = _ORDINALS.match(text, at)
    return None if found is None else (found.end(), f"{ordinal(found[1])} to {ordinal(found[2])}")


def _ratio(text: str, at: int) -> Said | None:
    """Say 16:9; a time of day has two figures after its colon and was read before."""
    found = _RATIO.match(text, at)
    if found is None or text[max(0, at - 1) : at] in ("-", ":", "/"):
        return None
    joint = " " if re.search(r"[A-Z][a-z]+ $", text[max(0, at - 16) : at]) and found[3] is None else " to "
    return found.end(), joint.join(cardinal(part) for part in found.groups() if part)


def _split(text: str, at: int) -> Said | None:
    """Say 24/7 and 50/50 without a word between them."""
    found = _SPLIT.match(text, at)
    if found is None or text[max(0, at - 1) : at] in ("-", ":", "/", "."):
        return None
    first, last = int(found[1]), int(found[2])
    idiom = (first, last) in ((24, 7), (9, 11), (20, 20), (7, 7), (7, 11)) or first + last == 100
    if not idiom or char_after(text, found.end()) == "=":
        return None
    return found.end(), f"{cardinal(found[1])} {cardinal(found[2])}"


def _season(text: str, at: int) -> Said | None:
    """Say 2019/20 as two years."""
    found = re.compile(r"([12]\d{3})/(\d\d)(?![\w/]|[.,]\d)").match(text, at)
    if found is None or int(found[2]) != (int(found[1]) + 1) % 100:
        return None
    after = year("19" + found[2]).removeprefix("nineteen ").replace("oh-", "oh ")
    return found.end(), f"{year(found[1])} {after}"


FIGURES: tuple[Rule, ...] = (_ordinals, _season, _split, _range, _ratio)
STARTS: tuple[Rule, ...] = (_range,)

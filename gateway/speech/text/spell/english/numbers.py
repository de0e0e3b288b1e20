"""Says amounts, ordinals, fractions and plain numbers in English."""

from __future__ import annotations

import re

from gateway.speech.text.spell.english.around import char_after, char_before, word_after, word_before
from gateway.speech.text.spell.english.quantities import a_fraction, amount_at, fraction_words, say
from gateway.speech.text.spell.english.said import cardinal, digit_by_digit, number, ordinal, year
from gateway.speech.text.spell.english.scan import Rule, Said

_ORDINAL = re.compile(r"(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th|ˢᵗ|ⁿᵈ|ʳᵈ|ᵗʰ)(?!\w)")
_FRACTION = re.compile(
    r"(?:(?P<whole>\d{1,4})(?: |[ \u00a0]and[ \u00a0]|-))?"
    r"(?P<top>\d{1,2})[/\u2044](?P<bottom>\d{1,3})(?:ths?|rds?|nds?)?(?![\w/]|[.,]\d)"
)
_FEET = re.compile(r"(?P<feet>\d{1,3})['’′] ?(?:(?P<inches>\d{1,2})(?P<part>[½¼¾])? ?(?:\"|”|″|''|’’))?(?![\w'’])")
_FEET_INCHES = re.compile(r"(\d{1,3}) ?ft\.? ?(\d{1,2})(?: ?in(?!\w)\.?)(?! the| a| an)")
_INCHES = re.compile(r"(?P<inches>\d{1,3}(?:\.\d+)?)(?:\"|″)(?=[\s.,;:)-]|$)")
_LISTED = re.compile(r"(\d{1,2})[.)](?=[ \u00a0]+[^\W\d_])")
_DECIMAL_COMMA = re.compile(r"\d{1,3},\d\d(?![\w]|[,.]\d)")
_LONE = re.compile(r"\d+")
_BARS = frozenset((2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 20, 24, 25, 32, 40, 48, 50, 64, 72, 80, 96, 100, 128, 1000))


def _ordinal(text: str, at: int) -> Said | None:
    found = _ORDINAL.match(text, at)
    return None if found is None else (found.end(), ordinal(found[1]))


def _fraction(text: str, at: int) -> Said | None:
    found = _FRACTION.match(text, at)
    if found is None or text[max(0, at - 1) : at] in ("/", ".", ",", ":", "-") or text[max(0, at - 1) : at].isalnum():
        return None
    if char_after(text, found.end()) == "=":
        return None
    top, bottom = int(found["top"]), int(found["bottom"])
    if not 0 < top < bottom or bottom not in _BARS or found["bottom"].startswith("0"):
        if found["whole"] is None and top and bottom:
            return found.end(), f"{cardinal(found['top'])} over {cardinal(found['bottom'])}"
        return None
    said = fraction_words(top, bottom)
    return found.end(), said if found["whole"] is None else f"{cardinal(found['whole'])} and {a_fraction(said)}"


def _feet(text: str, at: int) -> Said | None:
    written = _FEET_INCHES.match(text, at)
    if written is not None and not text[max(0, at - 1) : at].isalnum():
        return written.end(), f"{cardinal(written[1])} {'foot' if written[1] == '1' else 'feet'} {cardinal(written[2])}"
    found = _FEET.match(text, at)
    if found is not None and (found["inches"] or "′" in found[0]) and not text[max(0, at - 1) : at].isalnum():
        feet = f"{cardinal(found['feet'])} {'foot' if found['inches'] or found['feet'] == '1' else 'feet'}"
        inches = "" if found["inches"] is None else f" {cardinal(found['inches'])}"
        part = {"½": " and a half", "¼": " and a quarter", "¾": " and three quarters"}.get(found["part"] or "", "")
        return found.end(), feet + inches + part
    found = _INCHES.match(text, at)
    if found is None or '"' in text[max(0, at - 60) : at].rpartition("\n")[2]:
        return None  # the end of a quotation
    said = number(found["inches"])
    before = word_before(text, at)
    one = found["inches"] == "1" or (before in ("a", "an") and word_after(text, found.end()) != "")
    return found.end(), f"{said} {'inch' if one else 'inches'}"


def _amount(text: str, at: int) -> Said | None:
    before = text[max(0, at - 1) : at]
    if (before == "," or before == ".") and text[max(0, at - 2) : at - 1].isdigit():
        return None
    amount = amount_at(text, at)
    if amount is None or (before.isalnum() and (amount.currency or amount.unit) and not amount.minus):
        return None
    if amount.bare:
        return None
    if amount.minus and not _is_sign(text, at):
        return None
    return amount.end, say(text, amount)


def _is_sign(text: str, at: int) -> bool:
    """Return whether a minus or plus is the sign of a number and not an operator or a hyphen."""
    before = text[max(0, at - 1) : at]
    if before.isalnum() or before in (")", "]", "%", ".", ","):
        return False
    spaced = text[at + 1 : at + 2] == " "
    return not (spaced and (char_before(text, at).isalnum() or char_before(text, at) in ("", ")")))


def _signed(text: str, at: int) -> Said | None:
    amount = amount_at(text, at)
    if amount is None or not amount.minus or not _is_sign(text, at):
        return None
    return amount.end, say(text, amount)


def _begins_line(text: str, at: int) -> bool:
    """Return whether a line of a list begins here: at the beginning, or after a line that ended."""
    before = text[max(0, at - 60) : at].rstrip(" \u00a0")
    return before == "" or (before.endswith("\n") and before.rstrip()[-1:] in (*".!?:;", ""))


def _flight(text: str, at: int) -> Said | None:
    found = _LONE.match(text, at)
    if found is None or len(found[0]) != 4 or word_before(text, at).lower() not in ("flight",):
        return None
    return (found.end(), year(found[0])) if found[0][2:] != "00" and found[0][0] != "0" and found[0][1] != "0" else None


def _plain(text: str, at: int) -> Said | None:
    before = text[max(0, at - 1) : at]
    listed = _LISTED.match(text, at)
    if listed is not None and _begins_line(text, at):
        return listed.end(), f"{cardinal(listed[1])},"
    comma = _DECIMAL_COMMA.match(text, at)
    if comma is not None and not before.isalnum() and before not in (".", ","):
        return comma.end(), number(comma[0].replace(",", "."))
    amount = amount_at(text, at)
    if amount is not None and amount.bare and amount.written and not before.isdigit():
        if re.match(r"[.,]?\d", text[amount.end : amount.end + 2]) and "." in amount.written:
            amount = None
        else:
            return amount.end, say(text, amount)
    found = _LONE.match(text, at)
    if found is None:
        return None
    digits = found[0]
    if before == "-" and text[max(0, at - 2) : at - 1].isalpha() and len(digits) > 3:
        return found.end(), digit_by_digit(digits)
    in_name = before.isalpha() and text[max(0, at - 2) : at - 1].isalpha()
    if in_name and len(digits) == 4 and 1900 <= int(digits) <= 2099:
        return found.end(), year(digits)
    return found.end(), cardinal(digits) if not digits.startswith("0") else digit_by_digit(digits)


def _point(text: str, at: int) -> Said | None:
    """Say .5 as a decimal."""
    found = re.compile(r"\.\d+(?![.\w]\d|\.\d)").match(text, at)
    if found is None or text[max(0, at - 1) : at].isalnum() or text[max(0, at - 1) : at] in (".", ")"):
        return None
    amount = amount_at(text, at)
    return None if amount is None else (amount.end, say(text, amount))


AMOUNTS: tuple[Rule, ...] = (_feet, _fraction, _amount)
ORDINALS: tuple[Rule, ...] = (_ordinal,)
PLAIN: tuple[Rule, ...] = (_flight, _plain)
SIGNED: tuple[Rule, ...] = (_signed,)
CURRENCY: tuple[Rule, ...] = (_amount,)
POINT: tuple[Rule, ...] = (_point,)

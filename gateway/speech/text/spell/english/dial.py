"""Says telephone numbers in English digit by digit, with a pause between their groups."""

from __future__ import annotations

import re

from gateway.speech.text.spell.english.said import digit_by_digit
from gateway.speech.text.spell.english.scan import Rule, Said

_SEPARATOR = r"(?:[ \u00a0.]|[-–‑]| - |[ ]?/[ ]?)"
_NUMBER = re.compile(
    rf"(?P<plus>\+)?(?:\(?\d{{1,5}}\)?)(?:{_SEPARATOR}?\(\d{{1,5}}\)|{_SEPARATOR}\d{{1,8}}(?!\d)){{0,6}}(?![\w%]|[.,]\d|{_SEPARATOR}\d)"
    r"(?P<extension>,? ?(?:ext\.?|x|extension) ?(?P<ext>\d{1,6})(?!\w))?"
)
_AMERICAN = re.compile(r"(?:\+?1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w])")
_SEVEN = re.compile(r"\d{3}[-–]\d{4}$")
_GROUPS = re.compile(r"\d+")
_CALLS = re.compile(
    r"(?i)\b(?:call|calls|called|calling|dial|dialled|dialed|dialing|tel|telephone|phone|phoned|fax|ring|rang|text|mobile|"
    r"cell|cellphone|hotline|helpline|whatsapp|sms|voicemail|landline|t|ph|freephone|reach (?:us|me|him|her|them))\b"
    r"[^\d\n.!?]{0,24}(?:no\. ?|at |on |is )?[^\w\n]{0,3}$"
)
_SEEN_CHARS = 48
_CALENDAR = re.compile(r"\d{4}-\d\d?-\d\d?$|\d\d?[./-]\d\d?[./-]\d{4}$|(?:19|20)\d\d ?[-–] ?(?:19|20)?\d\d$")


def _dial(text: str, at: int) -> Said | None:
    if (
        text[max(0, at - 1) : at] in ("$", "€", "£", "#", "/", "-", ".", ",", "_")
        or text[max(0, at - 1) : at].isalnum()
    ):
        return None
    found = _NUMBER.match(text, at)
    if found is None:
        return None
    written = found[0][: -len(found["extension"])] if found["extension"] else found[0]
    groups = _GROUPS.findall(written)
    called = _CALLS.search(text[max(0, at - _SEEN_CHARS) : at]) is not None
    if not _is_dialled(written, groups, called):
        return None
    plus = "plus " if found["plus"] else ""
    said = plus + ", ".join(digit_by_digit(group) for group in groups)
    if found["ext"]:
        said += f", extension {digit_by_digit(found['ext'])}"
    return found.end(), said


def _is_dialled(written: str, groups: list[str], called: bool) -> bool:
    digits = sum(map(len, groups))
    if digits > 19 or digits < 3 or _CALENDAR.match(written):
        return False
    if _AMERICAN.fullmatch(written):
        return True
    if written.startswith("+"):
        return digits >= 7
    if called:
        return (digits >= 5 or len(groups) == 1) and not written.startswith("(1") and "/" not in written
    if "." in written or "/" in written:
        return False
    if written.startswith(("0", "(0")) and len(groups) > 1:
        return digits >= 8
    if _SEVEN.match(written):
        return _is_local(*groups)
    if len(groups) == 4 and all(len(group) == 4 for group in groups):
        return True  # the number of a card
    freephone = groups[0] in ("1300", "1800", "1") and len(groups) >= 3 and digits >= 9
    return freephone and all(2 <= len(group) <= 4 for group in groups[1:])


def _is_local(first: str, second: str) -> bool:
    """Return whether NNN-NNNN is a telephone number and no range."""
    round_range = first.endswith("0") and second.endswith("0") and not second.startswith("0")
    return (
        first == "555"
        or second.startswith("0")
        or (first[0] not in "01" and not round_range and int(second) >= 2 * int(first))
    )


FIGURES: tuple[Rule, ...] = (_dial,)
SIGNS: dict[str, tuple[Rule, ...]] = {"+": (_dial,), "(": (_dial,)}

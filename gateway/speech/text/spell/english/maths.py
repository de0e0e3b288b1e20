"""Says the signs of sums in English by their neighbours: 2 + 2 = 4, 3 × 4, 3x3, 10⁻⁶, mc², >50%, √16, ~20, 5x."""

from __future__ import annotations

import re
import unicodedata

from gateway.speech.text.spell.english.around import FUNCTION_WORDS, char_after, char_before, word_after, word_before
from gateway.speech.text.spell.english.quantities import amount_at, say
from gateway.speech.text.spell.english.said import cardinal, number
from gateway.speech.text.spell.english.scan import Rule, Said

_RAISED = re.compile(
    "(?P<sign>[\u207a\u207b])?(?P<figures>[\u00b9\u00b2\u00b3\u2070\u2074-\u2079]+)|(?P<letter>[\u207f\u2071])"
)
_LOWERED = re.compile("[\u2080-\u2089]+")
_DIMENSIONS = re.compile(r"(\d+(?:\.\d+)?)(?:(?: ?[x×] ?)(\d+(?:\.\d+)?))(?:(?: ?[x×] ?)(\d+(?:\.\d+)?))?(?!\d|\.\d)")
_FOLD = re.compile(r"(\d+(?:\.\d+)?)[x×](?![\w]|[.,]\d)")
_PRODUCT = frozenset("=+-÷")
_BETWEEN = {
    "+": "plus", "=": "equals", "×": "times", "÷": "divided by", "≠": "is not equal to",
    "≤": "is less than or equal to",
    "≥": "is greater than or equal to", "≈": "is approximately", "±": "plus or minus", "−": "minus", "·": "times",
    "⋅": "times", "≡": "is identical to", "∝": "is proportional to", "∕": "divided by",
}  # fmt: skip
_LEADING = {
    "~": "about", "≈": "about", "∼": "about", "<": "less than", ">": "more than", "≤": "at most", "≥": "at least",
    "±": "plus or minus", "√": "square root of", "∛": "cube root of", "+": "plus", "≠": "not", "=": "equals",
}  # fmt: skip


def _operand_before(text: str, at: int) -> bool:
    before = char_before(text, at)
    if before.isalpha():
        return word_before(text, at).lower() not in FUNCTION_WORDS
    return before != "" and (before.isalnum() or before in ")]%°!′∞")


def _operand_after(text: str, at: int) -> bool:
    after = char_after(text, at)
    return after.isalnum() or (after in ("(", "[", "$", "€", "£", "√", "-", "−", ".", "∞", "∑", "∫") and after != "")


def _padded(text: str, at: int, end: int, said: str) -> Said:
    left = "" if text[max(0, at - 1) : at] in ("", " ", "\n", "(", "[") else " "
    right = "" if text[end : end + 1] in (" ", "\n", "") else " "
    return end, f"{left}{said}{right}"


def _between(text: str, at: int) -> Said | None:
    sign = text[at]
    if not (_operand_before(text, at) and _operand_after(text, at + 1)):
        return None
    spaced = text[max(0, at - 1) : at] == " " and text[at + 1 : at + 2] == " "
    digits = char_before(text, at).isdigit() or char_after(text, at + 1).isdigit()
    if sign in "+=" and not (spaced or digits):
        return None
    return _padded(text, at, at + 1, _BETWEEN[sign])


def _leading(text: str, at: int) -> Said | None:
    sign = text[at]
    end = at + 1
    if sign in "<>" and text[end : end + 1] == "=":
        sign, end = {"<": "≤", ">": "≥"}[sign], end + 1
    after = text[end : end + 2].lstrip(" ")[:1]
    if not (after.isdigit() or (after in ("$", "€", "£", "½", "¼", "¾", "-", "−") and after) or sign in "√∛≤≥≈≠±"):
        return None
    compared = _operand_before(text, at)
    if sign in "<>≤≥" and compared:
        if (
            text[at - 1 : at] != " "
            and text[end : end + 1] != " "
            and not char_before(text, at).isdigit()
            and sign in "<>"
        ):
            return None
        words = {
            "<": "is less than",
            ">": "is greater than",
            "≤": "is less than or equal to",
            "≥": "is greater than or equal to",
        }
        return _padded(text, at, end, words[sign])
    if sign in "+" and compared:
        return None
    return _padded(text, at, end, _LEADING[sign])


def _compare(text: str, at: int) -> Said | None:
    """Say < and > between two spaced operands; elsewhere they are marks."""
    if (
        text[at - 1 : at] != " "
        or text[at + 1 : at + 2] != " "
        or not (_operand_before(text, at) and _operand_after(text, at + 1))
    ):
        return None
    return at + 1, "is less than" if text[at] == "<" else "is greater than"


def _times_or_by(text: str, at: int) -> Said | None:
    found = _DIMENSIONS.match(text, at)
    if found is None or text[max(0, at - 1) : at] == "." or text[max(0, at - 1) : at].isalnum():
        return None
    last = found.start(3 if found[3] else 2)
    amount = amount_at(text, last)
    if amount is None:
        return None
    after = char_after(text, found.end())
    product = ("×" in found[0] and not amount.unit and not _is_thing(text, amount.end)) or (
        after in _PRODUCT and after != ""
    )
    joint = " times " if product else " by "
    parts = [number(part) for part in found.groups() if part][:-1]
    raised = _RAISED.match(text, found.end())
    if raised is not None and not amount.unit:
        return found.end(), joint.join((*parts, number(found[3] or found[2])))
    return amount.end, joint.join((*parts, say(text, amount)))


_THINGS = frozenset(
    "grid matrix matrices board table array cube square sheet panel photo print image pixels format lumber wood size "
    "truck vehicle rug canvas relay drive".split()
)


def _is_thing(text: str, at: int) -> bool:
    return word_after(text, at) in _THINGS


def _fold(text: str, at: int) -> Said | None:
    found = _FOLD.match(text, at)
    if found is None or text[max(0, at - 1) : at].isalnum():
        return None
    return found.end(), f"{number(found[1])} times"


def _divided(text: str, at: int) -> Said | None:
    """Say a slash between two spaced numbers, or before an equals sign."""
    before, after = text[max(0, at - 1) : at], text[at + 1 : at + 2]
    if before == " " and after == " " and char_before(text, at).isdigit() and char_after(text, at + 1).isdigit():
        return at + 1, "divided by"
    if before.isdigit() and after.isdigit() and re.match(r"/\d+ ?=", text[at : at + 12]):
        return at + 1, " divided by "
    return None


def _subtracted(text: str, at: int) -> Said | None:
    """Say a dash between two spaced numbers that are no range; the range's rule has been tried before."""
    if not (text[max(0, at - 1) : at] == " " and text[at + 1 : at + 2] == " "):
        return None
    before, after = char_before(text, at), char_after(text, at + 1)
    if (
        (before.isdigit() and after.isdigit())
        or (before == ")" and after.isdigit())
        or (before.isdigit() and after == "(")
    ):
        return at + 1, "minus"
    single = re.search(r"(?:^|[^\w])[a-z] $", text[max(0, at - 3) : at]) and re.match(
        r" [a-z\d](?!\w)", text[at + 1 : at + 4]
    )
    return (at + 1, "minus") if single and "=" in text[max(0, at - 40) : at + 40] else None


def _letter_dash(text: str, at: int) -> Said | None:
    """Open the dash between letters and a number: GPT-4, UTF-8."""
    if text[max(0, at - 1) : at].isalpha() and text[at + 1 : at + 2].isdigit():
        return at + 1, " "
    return None


def _raised(text: str, at: int) -> Said | None:
    found = _RAISED.match(text, at)
    if found is None:
        return None
    before = text[max(0, at - 2) : at]
    alone = not before.strip() or not (before[-1:].isalnum() or before[-1:] in ")]")
    if found["letter"]:
        return None if alone else (found.end(), f" to the {unicodedata.normalize('NFKC', found[0])}")
    figures = "".join(str(unicodedata.digit(each)) for each in found["figures"])
    if alone or (len(before) == 2 and before.isalpha() and figures != "2" and not found["sign"]):
        return found.end(), f" {cardinal(figures)}"  # the mark of a footnote
    if found["sign"] is None and figures in ("2", "3"):
        if (
            len(before) == 2
            and before.isalpha()
            and before.islower()
            and not re.search(r"[\d ][a-z]{1,2}$", text[max(0, at - 4) : at])
        ):
            return found.end(), f" {cardinal(figures)}"
        return found.end(), " squared" if figures == "2" else " cubed"
    sign = "minus " if found["sign"] == "\u207b" else "plus " if found["sign"] else ""
    return found.end(), f" to the {sign}{cardinal(figures)}"


def _caret(text: str, at: int) -> Said | None:
    found = re.compile(r" ?\^ ?\{?(-?)(\d+|[a-z])\}?(?!\w)").match(text, at)
    if found is None or not _operand_before(text, at):
        return None
    exponent = cardinal(found[2]) if found[2].isdigit() else found[2]
    if not found[1] and found[2] in ("2", "3"):
        return found.end(), " squared" if found[2] == "2" else " cubed"
    return found.end(), f" to the {'minus ' if found[1] else ''}{exponent}"


def _lowered(text: str, at: int) -> Said | None:
    found = _LOWERED.match(text, at)
    if found is None:
        return None
    return found.end(), f" {cardinal(unicodedata.normalize('NFKC', found[0]))}"


def _star(text: str, at: int) -> Said | None:
    if (
        char_before(text, at).isdigit()
        and char_after(text, at + 1).isdigit()
        and text[at + 1 : at + 2] != "*"
        and text[at - 1 : at] != "*"
    ):
        return _padded(text, at, at + 1, "times")
    return None


FIGURES: tuple[Rule, ...] = (_times_or_by, _fold)
SIGNS: dict[str, tuple[Rule, ...]] = {
    **dict.fromkeys("=+≠≤≥≈±", (_between, _leading)),
    **dict.fromkeys("×÷·⋅≡∝∕", (_between,)),
    "<": (_leading, _compare), ">": (_leading, _compare), "~": (_leading,), "∼": (_leading,), "√": (_leading,),
    "∛": (_leading,),
    "/": (_divided,), "-": (_subtracted, _letter_dash), "−": (_subtracted,), "–": (), "^": (_caret,), "*": (_star,),
    **{chr(code): (_lowered,) for code in range(0x2080, 0x208A)},
    **dict.fromkeys("¹²³⁰ⁱ⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", (_raised,)),
}  # fmt: skip

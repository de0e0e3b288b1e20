"""Reads an amount with its currency, scale and unit: `$1.5 million`, `82.5 kg`, `5 €`, `1½ cups`, `10%`."""

from __future__ import annotations

import re
import unicodedata

import msgspec

from gateway.speech.text.spell.english.around import FUNCTION_WORDS, sentence_ends, word_after, word_before
from gateway.speech.text.spell.english.said import NUMBER, cardinal, number
from gateway.speech.text.spell.english.units import (
    CURRENCIES,
    MEASURES,
    NEEDS_DOT,
    ONLY_SPACED,
    ONLY_WITH_DOT,
    PER,
    SCALE_WORDS,
    SCALES,
    measures,
    money,
)

SPACE = "[ \u00a0\u202f\u2009]"
VULGAR = "\u00bc-\u00be\u2150-\u215e"


def any_of(names: object) -> str:
    """Return an alternation of names, the longest first."""
    return "|".join(re.escape(str(name)) for name in sorted(names, key=len, reverse=True))  # type: ignore[call-overload]


_SIGNS = {name for name in CURRENCIES if not name.isalpha() or name == "Rs"}
_CODES = {name for name in CURRENCIES if name.isalpha()}
_BEFORE = re.compile(
    rf"(?P<minus>[-−])?(?P<sign>{any_of(_SIGNS)}|[A-Z]{{1,3}}[$£¥]){SPACE}?(?P<minus2>[-−])?(?=[\d.])"
    rf"|(?P<minus3>[-−+±]{SPACE}?)?(?P<code>(?:{any_of(_CODES)}){SPACE}?)?(?=[\d.{VULGAR}])"
)
_AMOUNT = re.compile(rf"(?P<number>{NUMBER}|\.\d+)(?:[ \u00a0\u2044]?(?P<vulgar>[{VULGAR}]))?|(?P<only>[{VULGAR}])")
_EUROPEAN = re.compile(rf"(?:\d{{1,3}}(?:[.{SPACE[1:-1]}]\d{{3}})+|\d+),\d{{2}}(?![\d,.]\d|\d)")
_SCALE = re.compile(rf"{SPACE}?(?:(?P<word>{'|'.join(SCALE_WORDS)})|(?P<short>{any_of(SCALES)}))(?![\w²³/])(?!\.\w)")
_PER = rf"(?:/{SPACE}?(?P<per>{any_of(PER)})(?![\w²³]))?"
_CURRENCY_AFTER = re.compile(
    rf"(?P<scale>{any_of(SCALES)})?{SPACE}?(?P<sign>{any_of(_SIGNS)}|(?:{any_of(_CODES)})\b)(?![\d\w]){_PER}"
)
_UNIT = re.compile(rf"(?P<gap>{SPACE}|-)?(?P<unit>{any_of(MEASURES)})(?P<power>[²³23])?(?![\w²³]){_PER}")
_ONLY_PER = re.compile(_PER)
_POWERS = {"²": "square ", "³": "cubic ", "2": "square ", "3": "cubic "}
_LENGTHS = frozenset(("meter", "kilometer", "centimeter", "millimeter", "decimeter", "foot", "inch", "yard", "mile"))
_ATTRIBUTES = frozenset(
    "deal bill bills note notes fine loan grant takeover project budget fund plan house investment ticket contract "
    "bailout merger coin coins settlement lawsuit scheme program programme mansion jackpot prize reward market "
    "industry "
    "company business package campaign facility order purchase acquisition valuation".split()
)
_NEAR = frozenset("across always towards besides inwards upwards downwards onwards backwards forwards".split())
_ARTICLES = frozenset(("a", "an", "A", "An", "this", "that", "each", "every", "another", "one", "per"))


class Amount(msgspec.Struct, frozen=True):
    """An amount as it is written.

    Args:
        start, end: its place in the text.
        written: the number, without currency, scale and unit.
        vulgar: its fraction sign, as in `1½`.
        minus: the words for its sign.
        currency: a key of CURRENCIES, or letters and a sign that are none.
        scale: million and the like.
        unit: of measure, in the singular.
        per: the unit after a slash.
        spaced: a space is before the unit.
    """

    start: int
    end: int
    written: str
    vulgar: str = ""
    minus: str = ""
    currency: str = ""
    scale: str = ""
    unit: str = ""
    per: str = ""

    @property
    def bare(self) -> bool:
        """Return whether it is a number without anything around it."""
        return not (self.currency or self.unit or self.scale or self.vulgar or self.per)

    @property
    def one(self) -> bool:
        """Return whether its unit is in the singular."""
        return not self.scale and (
            (self.written == "1" and not self.vulgar) or (not self.written and bool(self.vulgar))
        )


def amount_at(text: str, at: int, currency: str = "") -> Amount | None:
    """Return the amount that begins at `at`; None if none does.

    Args:
        currency: of the amount before it in a range, which it shares.
    """
    before = _BEFORE.match(text, at)
    if before is None:
        return None
    currency = currency or before["sign"] or (before["code"] or "").strip(" \u00a0\u202f\u2009")
    european = _EUROPEAN.match(text, before.end())
    found = _AMOUNT.match(text, before.end())
    end = max(0 if found is None else found.end(), 0 if european is None else european.end())
    if european is not None and (currency or _money_follows(text, european.end())):
        whole, _, cents = european[0].rpartition(",")
        written, vulgar, end = f"{re.sub(r'[^0-9]', '', whole)}.{cents}", "", european.end()
    elif found is not None:
        written, vulgar, end = found["number"] or "", found["vulgar"] or found["only"] or "", found.end()
    else:
        return None
    sign = (before["minus"] or before["minus2"] or before["minus3"] or "").strip()
    minus = {"-": "minus ", "−": "minus ", "+": "plus ", "±": "plus or minus "}.get(sign, "")
    made = Amount(at, end, written, vulgar, minus, currency)
    return _with_money(text, made) if currency else _with_unit(text, made)


def _money_follows(text: str, at: int) -> bool:
    return _CURRENCY_AFTER.match(text, at) is not None or text[at : at + 2].lstrip(" \u00a0")[:1] == "%"


def _with_money(text: str, made: Amount) -> Amount:
    scale, end = "", made.end
    found = _SCALE.match(text, end)
    if found is not None and not (found["short"] and text[end : end + 1] in " \u00a0" and len(found["short"]) == 1):
        scale, end = found["word"] or SCALES[found["short"]], found.end()
    per = _ONLY_PER.match(text, end)
    per_unit = "" if per is None or per["per"] is None else PER[per["per"]]
    return msgspec.structs.replace(
        made, scale=scale, per=per_unit, end=end if per is None or not per_unit else per.end()
    )


def _with_unit(text: str, made: Amount) -> Amount:
    end, scale = made.end, ""
    found = _SCALE.match(text, end)
    if found is not None and (found["word"] or len(found["short"]) > 1 or _is_million(text, made, found)):
        scale, end = found["word"] or SCALES[found["short"]], found.end()
    money_after = _CURRENCY_AFTER.match(text, end)
    if money_after is not None:
        short = money_after["scale"]
        return msgspec.structs.replace(
            made,
            scale=scale or (SCALES[short] if short else ""),
            currency=money_after["sign"],
            per=PER.get(money_after["per"] or "", ""),
            end=money_after.end(),
        )
    unit = _UNIT.match(text, end)
    if unit is None or not _is_unit(text, made, unit):
        return msgspec.structs.replace(made, scale=scale, end=end)
    name = MEASURES[unit["unit"]]
    power, per = unit["power"], PER.get(unit["per"] or "", "")
    if power:
        name = _POWERS[power] + name
    end = unit.end()
    if text[end : end + 1] == "." and not per and not sentence_ends(text, end + 1) and text[end + 1 : end + 2] != ".":
        end += 1
    return msgspec.structs.replace(made, scale=scale, unit=name, per=per, end=end)


def _is_million(text: str, made: Amount, found: re.Match[str]) -> bool:
    """Return whether a single letter after a number is a scale: 1.5M, 5m people."""
    if found["short"] not in ("m", "M", "B", "b") or text[made.end : made.end + 1] != found["short"]:
        return False
    after = word_after(text, found.end()) if text[found.end() : found.end() + 1] == " " else ""
    counted = after in ("people", "men", "women", "children") or (
        len(after) > 4 and after.endswith("s") and after not in _NEAR
    )
    return counted or (found["short"] in "MB" and "." in made.written)


def _is_unit(text: str, made: Amount, found: re.Match[str]) -> bool:
    name, gap, power = found["unit"], found["gap"], found["power"]
    if power and MEASURES[name] not in _LENGTHS:
        return False
    if re.match(r"[A-Z]\. [A-Z]", text[found.start("unit") : found.start("unit") + 4]) and len(name) == 1:
        return False  # the initial of a name or a point of the compass: 123 N. Main St.
    dotted = text[found.end("unit") : found.end("unit") + 1] == "."
    if name in ONLY_WITH_DOT and not (dotted and text[found.end("unit") + 1 : found.end("unit") + 2] in (" ", ",", "")):
        return False
    if name in ("min", "sec", "pc") and gap == "-":
        return False
    if name in ONLY_SPACED and (gap != " " or (name == "A" and word_after(text, found.end()) != "" and not dotted)):
        return name == "A" and gap == " " and word_after(text, found.end()) in ("of", "fuse", "current", "socket", "at")
    if name in ("s", "g", "m", "l", "h") and gap == "-":
        return False
    if name == "h" and not gap and re.match(r"\d", text[found.end() : found.end() + 1] or ""):
        return False
    return bool(made.written or made.vulgar) and not (name in NEEDS_DOT and gap == "-" and not dotted and name != "min")


def say(text: str, amount: Amount) -> str:
    """Return the words of an amount."""
    if amount.currency:
        return _say_money(text, amount)
    said = say_number(amount)
    if not amount.unit:
        return said + (f" per {amount.per}" if amount.per else "")
    return f"{said} {say_unit(text, amount)}"


def say_number(amount: Amount) -> str:
    """Return the words of the number with its sign and scale, without currency and unit."""
    if amount.vulgar:
        fraction = vulgar_fraction(amount.vulgar)
        said = f"{number(amount.written)} and {a_fraction(fraction)}" if amount.written else fraction
    else:
        said = number(amount.written)
    return amount.minus + said + (f" {amount.scale}" if amount.scale else "")


def say_unit(text: str, amount: Amount, one: bool | None = None) -> str:
    """Return the words of the currency or the unit."""
    single = (amount.one if one is None else one) or _is_attribute(text, amount)
    per = f" per {amount.per}" if amount.per else ""
    if amount.currency:
        name, _ = _currency(amount.currency)
        return money(name, single) + per
    if amount.vulgar and not amount.written and amount.unit:
        return f"of a {amount.unit}{per}" if not _is_attribute(text, amount) else amount.unit + per
    return measures(amount.unit, single) + per


def _currency(sign: str) -> tuple[str, str]:
    known = CURRENCIES.get(sign)
    if known is not None:
        return known
    base, part = CURRENCIES[sign[-1]]
    return f"{sign[:-1]} {base}", part


def _say_money(text: str, amount: Amount) -> str:
    name, part = _currency(amount.currency)
    whole, _, fraction = amount.written.partition(".")
    per = f" per {amount.per}" if amount.per else ""
    if amount.vulgar or amount.scale or not part or len(fraction) not in (0, 2):
        return f"{say_number(amount)} {say_unit(text, amount)}"
    cents = int(fraction or 0)
    said = []
    if int(re.sub(r"\D", "", whole) or 0) or not cents:
        single = whole == "1" or (not cents and _is_attribute(text, amount))
        said.append(f"{cardinal(whole or '0')} {money(name, single)}")
    if cents:
        said.append(f"{cardinal(str(cents))} {money(part, cents == 1)}")
    return amount.minus + " and ".join(said) + per


def _is_attribute(text: str, amount: Amount) -> bool:
    """Return whether the amount stands before a noun as an adjective: a $5 bill, a 10 km run, £3bn deal."""
    after = word_after(text, amount.end)
    if not after or after in FUNCTION_WORDS or amount.unit in ("percent", "degree"):
        return False
    if amount.unit and text[amount.end - 1 : amount.end + 1].endswith("-"):
        return True
    if amount.currency and after in _ATTRIBUTES:
        return bool(amount.scale) or word_before(text, amount.start) in _ARTICLES
    return word_before(text, amount.start) in _ARTICLES and after[0].islower()


_ONES = {2: "half", 4: "quarter"}


def fraction_words(top: int, bottom: int) -> str:
    """Return a fraction as words: three quarters, one third, five sixteenths."""
    from gateway.speech.text.spell.english.said import ordinal, plural

    name = _ONES.get(bottom) or ordinal(str(bottom))
    if top == 1:
        return f"one {name}"
    return f"{cardinal(str(top))} {'halves' if bottom == 2 else plural(name)}"


def vulgar_fraction(sign: str) -> str:
    """Return the words of a fraction sign."""
    top, _, bottom = unicodedata.normalize("NFKC", sign).partition("\u2044")
    return fraction_words(int(top), int(bottom))


def a_fraction(said: str) -> str:
    """Return a fraction as it is said after a whole number: and a half."""
    return said.replace("one ", "a ", 1) if said.startswith("one ") else said

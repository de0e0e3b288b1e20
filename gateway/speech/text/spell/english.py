"""Spells out English: abbreviations, web addresses, dates, times, money, measures, ordinals, years, fractions.

The order of the rules matters: each replaces text that a later rule would misread. Plain cardinal numbers are left to
`gateway.speech.text.spell.figures`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.speech.text.spell.numerals import one_by_one, spoken

_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str] | str]

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_MONTH = {name[:3].lower(): name for name in _MONTHS}
_SHORT_MONTHS = "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
_MONTH_NAMES = rf"(?P<month>{'|'.join(_MONTHS)}|(?:{_SHORT_MONTHS})\b\.?)"

_TITLES = {
    "Dr": "Doctor", "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Prof": "Professor", "St": "Saint", "Mt": "Mount",
    "Ft": "Fort", "Lt": "Lieutenant", "Col": "Colonel", "Gen": "General", "Capt": "Captain", "Sgt": "Sergeant",
    "Gov": "Governor", "Sen": "Senator", "Rev": "Reverend", "Hon": "Honorable", "Pres": "President", 
    "Rep": "Representative",
}  # fmt: skip
_STREETS = {
    "St": "Street", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Dr": "Drive", "Ln": "Lane", "Ct": "Court",
    "Pl": "Place", "Sq": "Square", "Hwy": "Highway", "Pkwy": "Parkway",
}  # fmt: skip
_SHORT = {
    "vs": "versus", "e.g": "for example", "i.e": "that is", "approx": "approximately", "dept": "department",
    "Dept": "Department", "Jr": "Junior", "Sr": "Senior", "Inc": "Incorporated", "Ltd": "Limited",
    "Corp": "Corporation", "Co": "Company", "Bros": "Brothers", "ca": "circa", "cf": "compare",
    "a.k.a": "also known as", "Apt": "Apartment", "apt": "apartment", "Mon": "Monday", "Tue": "Tuesday",
    "Wed": "Wednesday", "Thu": "Thursday", "Fri": "Friday",
}  # fmt: skip
_BEFORE_NUMBER = {"No": "number", "no": "number", "Nos": "numbers", "p": "page", "pp": "pages", "Vol": "volume",
                  "vol": "volume", "Fig": "figure", "fig": "figure", "Ch": "chapter", "ch": "chapter", "Sec": "section",
                  "sec": "section", "Art": "article", "Eq": "equation"}  # fmt: skip
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"), "US$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"), "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""), "₹": ("rupee", "rupees", "paisa", "paise"), "₩": ("won", "won", "", ""),
    "USD": ("US dollar", "US dollars", "cent", "cents"), "EUR": ("euro", "euros", "cent", "cents"),
    "GBP": ("pound", "pounds", "penny", "pence"), "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
    "JPY": ("yen", "yen", "", ""), "CAD": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "AUD": ("Australian dollar", "Australian dollars", "cent", "cents"),
}  # fmt: skip
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
_UNITS = {
    "km/h": ("kilometer per hour", "kilometers per hour"), "mph": ("mile per hour", "miles per hour"),
    "km": ("kilometer", "kilometers"), "cm": ("centimeter", "centimeters"), "mm": ("millimeter", "millimeters"),
    "kg": ("kilogram", "kilograms"), "mg": ("milligram", "milligrams"), "lbs": ("pound", "pounds"),
    "lb": ("pound", "pounds"), "oz": ("ounce", "ounces"), "ft": ("foot", "feet"), "ml": ("milliliter", "milliliters"),
    "°C": ("degree Celsius", "degrees Celsius"), "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "°": ("degree", "degrees"), "GB": ("gigabyte", "gigabytes"), "MB": ("megabyte", "megabytes"),
    "KB": ("kilobyte", "kilobytes"), "TB": ("terabyte", "terabytes"), "kHz": ("kilohertz", "kilohertz"),
    "MHz": ("megahertz", "megahertz"), "GHz": ("gigahertz", "gigahertz"), "Hz": ("hertz", "hertz"),
    "kWh": ("kilowatt hour", "kilowatt hours"), "kW": ("kilowatt", "kilowatts"), "ms": ("millisecond", "milliseconds"),
    "hrs": ("hour", "hours"), "hr": ("hour", "hours"), "mins": ("minute", "minutes"), "secs": ("second", "seconds"),
}  # fmt: skip
_FRACTIONS = {
    "1/2": "one half", "1/3": "one third", "2/3": "two thirds", "1/4": "one quarter", "3/4": "three quarters",
    "1/5": "one fifth", "2/5": "two fifths", "3/5": "three fifths", "4/5": "four fifths", "1/8": "one eighth",
    "3/8": "three eighths", "5/8": "five eighths", "7/8": "seven eighths", "1/10": "one tenth",
    "½": "one half", "⅓": "one third", "⅔": "two thirds", "¼": "one quarter", "¾": "three quarters",
}  # fmt: skip
_DAY_FIRST = frozenset(("GB", "IE", "AU", "NZ", "IN", "ZA"))
_AMOUNT = r"\d{1,3}(?:,\d{3})+|\d+"


def spell_english(text: str, language: str) -> str:
    """Return the text with everything but plain numbers as words; `language` decides whether days precede months."""
    day_first = language.replace("_", "-").upper().split("-")[-1] in _DAY_FIRST
    for pattern, reading in _US_RULES if not day_first else _GB_RULES:
        text = pattern.sub(reading, text)
    return text


def _cardinal(digits: str) -> str:
    return spoken(digits.replace(",", ""), "en")


def _year(digits: str) -> str:
    return spoken(digits, "en", "year")


def _ordinal(digits: str) -> str:
    return spoken(digits.replace(",", ""), "en", "ordinal")


def _web_address(match: re.Match[str]) -> str:
    address = re.sub(r"^https?://", "", match[0])
    end = address[-1] if address[-1] in ".," else ""
    address = address.removesuffix(end) if end else address
    address = address.replace("www.", "w w w dot ").rstrip("/")
    for sign, word in (("@", "at"), (".", "dot"), ("/", "slash"), ("-", "dash"), ("_", "underscore")):
        address = address.replace(sign, f" {word} ")
    return " ".join(address.split()) + end


def _abbreviation(match: re.Match[str], full: str) -> str:
    """Return the full form of an abbreviation, with its dot if the dot also ends the sentence."""
    return full + ("." if match["end"] is not None else "")


_END = r"(?P<end>(?=[\"')\]]?[ \u00a0]*(?:\n|$)))?"
_END_OR_CAPITAL = r"(?P<end>(?=[\"')\]]?[ \u00a0]*(?:\n|$|[A-Z])))?"


def _numeric_date(match: re.Match[str], day_first: bool) -> str:
    first, second = int(match[1]), int(match[2])
    month, day = (second, first) if day_first or first > 12 else (first, second)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return _date(_MONTHS[month - 1], str(day), match[3], day_first)


def _iso_date(match: re.Match[str]) -> str:
    month, day = int(match[2]), int(match[3])
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return _date(_MONTHS[month - 1], str(day), match[1], False)


def _date(month: str, day: str, year: str | None, day_first: bool) -> str:
    if year is not None and len(year) == 2:
        year = ("20" if int(year) < 70 else "19") + year
    said = f"the {_ordinal(day)} of {month}" if day_first else f"{month} {_ordinal(day)}"
    return said if year is None else f"{said}{'' if day_first else ','} {_year(year)}"


def _month_day(match: re.Match[str]) -> str:
    return _date(_MONTH[match["month"][:3].lower()], match["day"], match["year"], False)


def _day_month(match: re.Match[str]) -> str:
    month = _MONTH[match["month"][:3].lower()]
    year = f" {_year(match['year'])}" if match["year"] else ""
    the = "" if match["the"] else "the "
    return f"{match['the'] or ''}{the}{_ordinal(match['day'])} of {month}{year}"


def _time(match: re.Match[str]) -> str:
    hour, minute, half = match["hour"], match["minute"], match["half"]
    if int(hour) > 24 or (minute is not None and int(minute) > 59):
        return match[0]
    said = [_cardinal(str(int(hour)))]
    if minute is not None and int(minute):
        said.append(f"oh {_cardinal(minute[1])}" if minute[0] == "0" else _cardinal(minute))
    elif not half:
        said.append("o'clock" if 0 < int(hour) <= 12 else "hundred hours" if int(hour) else "o'clock")
    if half:
        said.append(half[0].upper() + "M" + ("." if match["end"] is not None and half.endswith(".") else ""))
    return " ".join(said)


def _money(match: re.Match[str]) -> str:
    one, many, part, parts = _CURRENCIES[match["sign"]]
    whole, fraction, scale = match["whole"].replace(",", ""), match["fraction"], match["scale"]
    minus = "minus " if match["minus"] else ""
    if scale:
        scale = _SCALES.get(scale.lower(), scale)
        point = f" point {one_by_one(fraction, 'en')}" if fraction else ""
        return f"{minus}{_cardinal(whole)}{point} {scale} {many}"
    if fraction and (len(fraction) != 2 or not part):
        return f"{minus}{_cardinal(whole)} point {one_by_one(fraction, 'en')} {many}"
    said = []
    cents = int(fraction or 0)
    if int(whole) or not cents:
        said.append(f"{_cardinal(whole)} {one if whole == '1' else many}")
    if cents:
        said.append(f"{_cardinal(str(cents))} {part if cents == 1 else parts}")
    return minus + " and ".join(said)


def _measure(match: re.Match[str]) -> str:
    one, many = _UNITS[match["unit"]]
    return f"{match['number']} {one if match['number'] == '1' else many}"


def _decade(match: re.Match[str]) -> str:
    said = _year(match[1]) if len(match[1]) == 4 else _cardinal(match[1])
    return f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"


def _phone(match: re.Match[str]) -> str:
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(one_by_one(group, "en") for group in re.findall(r"\d+", match[0]))


def _range(match: re.Match[str]) -> str:
    years = len(match[1]) == len(match[2]) == 4
    return " to ".join(_year(n) if years and 1100 <= int(n) < 2100 else _cardinal(n) for n in match.groups())


def _dotted(match: re.Match[str]) -> str:
    return " point ".join(_cardinal(part) for part in match[0].split("."))


def _fraction(match: re.Match[str]) -> str:
    said = _FRACTIONS[match["fraction"]]
    if not match["whole"]:
        return said
    return f"{_cardinal(match['whole'])} and {said.replace('one', 'a', 1)}"


def _any(names: dict[str, str] | dict[str, tuple[str, str]] | dict[str, tuple[str, str, str, str]]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


def _rules(day_first: bool) -> tuple[_Rule, ...]:
    symbols = _any({k: v for k, v in _CURRENCIES.items() if not k[-1].isalpha()})
    codes = _any({k: v for k, v in _CURRENCIES.items() if k.isalpha()})
    amount = rf"(?P<whole>{_AMOUNT})(?:\.(?P<fraction>\d+))?"
    scale = r"(?:[ \u00a0]?(?P<scale>million|billion|trillion|thousand|bn|mn|tn|[kKmMbB])\b)?"
    minus = r"(?P<minus>(?<!\w)[-−])?"
    half = r"(?P<half>[AaPp]\.?[Mm]\b\.?)"
    year = r"(?:,? (?P<year>[12]\d{3})\b)?"
    day = r"(?P<day>0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
    return (
        (re.compile(r"\bhttps?://[^\s<>\"]+|\bwww\.[\w-]+\.[^\s<>\"]+"), _web_address),
        (re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"), _web_address),
        (re.compile(r"\b(?:\w[\w-]{0,62}\.)(?:com|org|net|io|gov|edu|dev|co\.uk)\b(?:/[\w./-]*)?"), _web_address),
        (re.compile(r"\b(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})\b(?![/\d])"), lambda m: _numeric_date(m, day_first)),
        (re.compile(r"\b([12]\d{3})-(\d{2})-(\d{2})\b(?!-)"), _iso_date),
        (re.compile(rf"\b{_MONTH_NAMES} {day}\b(?![:./]\d){year}"), _month_day),
        (re.compile(rf"(?P<the>\b[Tt]he )?\b{day} (?:of )?{_MONTH_NAMES}{year}"), _day_month),
        (
            re.compile(
                rf"\b(?P<hour>\d{{1,2}}):(?P<minute>[0-5]\d)(?::[0-5]\d)?"
                rf"(?:[ \u00a0]?{half})?(?![:\d]){_END_OR_CAPITAL}"
            ),
            _time,
        ),
        (re.compile(rf"\b(?P<hour>1[0-2]|0?[1-9])(?P<minute>(?!))?[ \u00a0]?{half}{_END_OR_CAPITAL}"), _time),
        (re.compile(rf"{minus}(?P<sign>{symbols})[ \u00a0]?{amount}{scale}"), _money),
        (re.compile(rf"{minus}(?<![\w.,]){amount}{scale}[ \u00a0]?(?P<sign>{symbols}|(?:{codes})\b)"), _money),
        (re.compile(r"(?<![\w.,])(?:\+\d{1,3}[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}\b"), _phone),
        (re.compile(r"(?<![\w.,-])\d{3}-\d{4}\b"), _phone),
        (re.compile(r"\b\d+(?:\.\d+){2,}\b"), _dotted),
        (re.compile(rf"(?<![\w.,])(?P<number>\d[\d,]*(?:\.\d+)?)[ \u00a0]?(?P<unit>{_any(_UNITS)})(?!\w)"), _measure),
        (re.compile(rf"\b({_AMOUNT})(?:st|nd|rd|th)\b"), lambda m: _ordinal(m[1])),
        (re.compile(r"(?:(?<=\W)|^)['’]?([1-9]0|[12]\d[1-9]0)['’]?s\b"), _decade),
        (
            re.compile(rf"(?<![\d/.,])(?:(?P<whole>\d{{1,3}})[ \u00a0-]?)??(?P<fraction>{_any(_FRACTIONS)})(?![\d/])"),
            _fraction,
        ),
        (re.compile(r"(?<![\w.,/-])(\d{1,4}) ?[–-] ?(\d{1,4})(?![\w/-]|[.,]\d)"), _range),
        (re.compile(r"(?<![\w.,$#/-])(1[1-9]\d\d|20\d\d)(?![\w/%-]|[.,:]\d)"), lambda m: _year(m[1])),
        (re.compile(rf"\b({_any(_BEFORE_NUMBER)})\.[ \u00a0]?(?=\d)"), lambda m: f"{_BEFORE_NUMBER[m[1]]} "),
        (re.compile(r"(?<!\w)#(?=\d)"), "number "),
        (re.compile(r"(?<!\w)[~≈] ?(?=\d)"), "about "),
        (re.compile(r"(?<=\d) ?[×x] ?(?=\d)"), " by "),
        (re.compile(r"(?<=\d) ?\+ ?(?=\d)"), " plus "),
        (re.compile(r"(?<=[\w.]) ?= ?(?=\w)"), " equals "),
        (re.compile(r"(?<=\w) ?& ?(?=\w)"), " and "),
        # Streets first: "St." after a house number and a name means "Street" and not "Saint".
        (
            re.compile(rf"(?P<place>\b\d{{1,6}}(?: [A-Z][\w']{{0,30}}){{1,4}}) (?P<short>{_any(_STREETS)})\.{_END}"),
            lambda m: _abbreviation(m, f"{m['place']} {_STREETS[m['short']]}"),
        ),
        (re.compile(rf"\b({_any(_TITLES)})\.[ \u00a0]?(?=[A-Z])"), lambda m: f"{_TITLES[m[1]]} "),
        (
            re.compile(rf"(?<=[a-z]) (?P<short>{_any(_STREETS)})\.{_END}"),
            lambda m: _abbreviation(m, f" {_STREETS[m['short']]}"),
        ),
        (re.compile(rf"\betc\.{_END_OR_CAPITAL}"), lambda m: _abbreviation(m, "et cetera")),
        (re.compile(rf"(?<![\w.])(?P<short>{_any(_SHORT)})\.{_END}"), lambda m: _abbreviation(m, _SHORT[m["short"]])),
    )


_US_RULES = _rules(day_first=False)
_GB_RULES = _rules(day_first=True)

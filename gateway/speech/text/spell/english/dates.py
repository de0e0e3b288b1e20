"""Says dates in English: 11/22/2026, 2024/10/01, 2026-11-22T18:30Z, Jan. 3rd, 5-7 May, Mon-Fri, '98, FY2024."""

from __future__ import annotations

import re

from gateway.speech.text.spell.english.around import char_before, sentence_ends, word_after, word_before
from gateway.speech.text.spell.english.said import ordinal, year
from gateway.speech.text.spell.english.scan import Rule, Said
from gateway.speech.text.spell.english.times import clock

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_SHORT_MONTHS = ("Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov", "Dec")
_MONTH = {name[:3].lower(): name for name in MONTHS}
_MONTH_NAME = rf"(?P<month>{'|'.join(MONTHS)}|(?:{'|'.join(_SHORT_MONTHS)})(?!\w)\.?)(?!\w)"
_WEEKDAYS = {
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday", "Thur": "Thursday",
    "Thurs": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip
_WORDS_TOO = frozenset(("Mon", "Wed", "Sat", "Sun"))
"""Short weekdays that are words of their own; a dot alone does not make them weekdays."""

_ISO = re.compile(
    r"(?P<year>[12]\d{3})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})"
    r"(?:(?:T|[ \u00a0](?=\d{1,2}:\d\d(?::\d\d)?Z))(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d+)?)?"
    r"(?P<zone>Z\b|[+-]\d\d:?\d\d(?!\d))?)?(?![\w/-]|\.\d)"
)
_NUMERIC = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d{2})(?![\w/-]|\.\d)")
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_DAYS = (
    rf"(?P<day>{_DAY})(?:st|nd|rd|th)?(?![\w:]|[.,/]\d)"
    rf"(?:(?P<dash> ?[–—-] ?| to | and )(?P<last>{_DAY})(?:st|nd|rd|th)?(?![\w:/%-]|[.,]\d))?"
)
_YEAR = r"(?:,? (?P<year>[12]\d{3})(?![\w%]|[.,/]\d))?"
_MONTH_DAY = re.compile(rf"{_MONTH_NAME} {_DAYS}{_YEAR}")
_MONTH_YEAR = re.compile(rf"{_MONTH_NAME} (?P<year>[12]\d{{3}})(?![\w%]|[.,:/]\d)")
_DAY_MONTH = re.compile(rf"{_DAYS} (?:of )?{_MONTH_NAME}{_YEAR}")
_MONTH_RANGE = re.compile(
    rf"(?P<one>{'|'.join((*MONTHS, *_SHORT_MONTHS))})\.? ?[–—-] ?"
    rf"(?P<other>{'|'.join((*MONTHS, *_SHORT_MONTHS))})(?!\w)\.?"
)
_WEEKDAY_RANGE = re.compile(rf"({'|'.join(_WEEKDAYS)})\.? ?[–—-] ?({'|'.join(_WEEKDAYS)})(?!\w)\.?")
_SHORT_YEAR = re.compile(r"['’](\d\d)(?![\w.,]\d|[\w'’])")
_FISCAL = re.compile(r"FY ?['’]?(\d{4}|\d\d)(?:[/–-](\d\d))?(?!\w)")
_QUARTER = re.compile(r"([QH])([1-4])(?!\w)(?: ?['’]?([12]\d{3}))?")


def date(month: str, day: str, written_year: str | None, day_first: bool) -> str:
    """Return a date as words."""
    if written_year is not None and len(written_year) == 2:
        written_year = ("20" if int(written_year) < 70 else "19") + written_year
    said = f"the {ordinal(day)} of {month}" if day_first else f"{month} {ordinal(day)}"
    return said if written_year is None else f"{said}{'' if day_first else ','} {year(written_year)}"


def _iso(text: str, at: int) -> Said | None:
    found = _ISO.match(text, at)
    if found is None or not (1 <= int(found["month"]) <= 12 and 1 <= int(found["day"]) <= 31):
        return None
    said = date(MONTHS[int(found["month"]) - 1], str(int(found["day"])), found["year"], False)
    if found["hour"] is None:
        return found.end(), said
    if int(found["hour"]) > 24 or int(found["minute"]) > 59:
        return None
    zone = found["zone"] or ""
    if zone and zone != "Z":
        sign = "plus" if zone[0] == "+" else "minus"
        hours, minutes = int(zone[1:3]), zone[-2:]
        zone = " UTC" if zone[1:].strip("0:") == "" else f" UTC {sign} {clock(str(hours), minutes, plain=True)}"
    elif zone:
        zone = " UTC"
    return found.end(), f"{said} at {clock(found['hour'], found['minute'], found['second'])}{zone}"


def _numeric(day_first: bool) -> Rule:
    def rule(text: str, at: int) -> Said | None:
        found = _NUMERIC.match(text, at)
        if found is None or (len(found[4]) == 2 and found[2] != "/"):
            return None
        first, second = int(found[1]), int(found[3])
        # With dots the day comes first everywhere: the writer is no American.
        days_lead = day_first or first > 12 or (found[2] == "." and second <= 12)
        month, day = (second, first) if days_lead else (first, second)
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return None
        return found.end(), date(MONTHS[month - 1], str(day), found[4], day_first)

    return rule


def _day_month(text: str, at: int) -> Said | None:
    found = _DAY_MONTH.match(text, at)
    if found is None:
        return None
    the = "" if word_before(text, at).lower() == "the" else "the "
    days = _days(found)
    written_year = f" {year(found['year'])}" if found["year"] else ""
    return _ended(text, found, f"{the}{days} of {_month(found['month'])}{written_year}")


def _month_day(text: str, at: int) -> Said | None:
    found = _MONTH_DAY.match(text, at)
    if found is None:
        return None
    written_year = f", {year(found['year'])}" if found["year"] else ""
    return found.end(), f"{_month(found['month'])} {_days(found)}{written_year}"


def _days(found: re.Match[str]) -> str:
    if found["last"] is None:
        return ordinal(str(int(found["day"])))
    word = "and" if "and" in found["dash"] else "to"
    return f"{ordinal(str(int(found['day'])))} {word} {ordinal(str(int(found['last'])))}"


def _month(written: str) -> str:
    return _MONTH[written[:3].lower()]


def _ended(text: str, found: re.Match[str], said: str) -> Said:
    """Keep the dot of a short month at the end where it ends the sentence, too."""
    dotted = found[0].endswith(".")
    return found.end(), said + ("." if dotted and sentence_ends(text, found.end()) else "")


def _month_year(text: str, at: int) -> Said | None:
    found = _MONTH_YEAR.match(text, at)
    return None if found is None else (found.end(), f"{_month(found['month'])} {year(found['year'])}")


def _month_range(text: str, at: int) -> Said | None:
    found = _MONTH_RANGE.match(text, at)
    return None if found is None else _ended(text, found, f"{_month(found['one'])} to {_month(found['other'])}")


def _short_month(text: str, at: int) -> Said | None:
    end = at + len(next(name for name in sorted(_SHORT_MONTHS, key=len, reverse=True) if text.startswith(name, at)))
    name = text[at:end]
    if text[end : end + 1] != ".":
        return None
    return end + 1, _month(name) + ("." if sentence_ends(text, end + 1) else "")


def _weekday_range(text: str, at: int) -> Said | None:
    found = _WEEKDAY_RANGE.match(text, at)
    return None if found is None else _ended(text, found, f"{_WEEKDAYS[found[1]]} to {_WEEKDAYS[found[2]]}")


def _weekday(text: str, at: int) -> Said | None:
    found = re.compile(r"[A-Z][a-z]+").match(text, at)
    if found is None or found[0] not in _WEEKDAYS:
        return None
    name, end = found[0], found.end()
    dotted = text[end : end + 1] == "."
    end += dotted
    comma = text[end : end + 1] == ","
    after = word_after(text, end + comma)
    dated = after[:3] in _MONTH_STARTS or re.match(r",? ?\d", text[end : end + 3]) is not None
    near = after in _WEEKDAYS or (after in ("and", "or", "to") and _weekday_next(text, end, after))
    before = word_before(text, at).rstrip(".")
    listed = before in _WEEKDAYS or (before in ("and", "or", "to") and _listed(text, at))
    sure = dated or near or listed or (dotted and name not in _WORDS_TOO)
    if not sure or not (dotted or dated or near or listed):
        return None
    return end, _WEEKDAYS[name] + ("." if dotted and sentence_ends(text, end) else "")


_MONTH_STARTS = frozenset(name[:3] for name in MONTHS)


def _weekday_next(text: str, at: int, joint: str) -> bool:
    after = word_after(text, text.index(joint, at) + len(joint))
    return after in _WEEKDAYS


def _listed(text: str, at: int) -> bool:
    words = re.findall(r"[A-Za-z]+", text[max(0, at - 14) : at])
    return len(words) > 1 and words[-2] in _WEEKDAYS


def _short_year(text: str, at: int) -> Said | None:
    found = _SHORT_YEAR.match(text, at)
    if found is None or char_before(text, at).isdigit() or text[max(0, at - 1) : at].isalnum():
        return None
    return found.end(), two_digits(found[1])


def two_digits(digits: str) -> str:
    """Return the last two digits of a year as words: oh five, ninety-eight."""
    return year("19" + digits).partition(" ")[2].replace("oh-", "oh ") if digits != "00" else "hundred"


def _fiscal(text: str, at: int) -> Said | None:
    found = _FISCAL.match(text, at)
    if found is None:
        return None
    said = year(found[1]) if len(found[1]) == 4 else two_digits(found[1])
    return found.end(), f"fiscal year {said}" + (f" to {two_digits(found[2])}" if found[2] else "")


def _quarter(text: str, at: int) -> Said | None:
    found = _QUARTER.match(text, at)
    if found is None or (found[1] == "H" and int(found[2]) > 2):
        return None
    from gateway.speech.text.spell.english.said import cardinal

    return found.end(), f"{found[1]} {cardinal(found[2])}" + (f" {year(found[3])}" if found[3] else "")


def figure_rules(day_first: bool) -> tuple[Rule, ...]:
    """Return the rules for dates that begin with a figure."""
    return _iso, _numeric(day_first), _day_month


WORDS: dict[str, tuple[Rule, ...]] = {
    **dict.fromkeys(MONTHS, (_month_range, _month_day, _month_year)),
    **dict.fromkeys(_SHORT_MONTHS, (_month_range, _month_day, _month_year, _short_month)),
    "May": (_month_range, _month_day, _month_year),
    **dict.fromkeys(_WEEKDAYS, (_weekday_range, _weekday)),
    "FY": (_fiscal,),
    "Q": (_quarter,),
    "H": (_quarter,),
}
SIGNS: dict[str, tuple[Rule, ...]] = {"'": (_short_year,), "’": (_short_year,), "‘": ()}

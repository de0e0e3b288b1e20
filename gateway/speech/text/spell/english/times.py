"""Says times of day and durations in English: 5:30pm, 17:05, 9am-5pm, 2:03:45."""

from __future__ import annotations

import re

from gateway.speech.text.spell.english.around import sentence_ends, word_before
from gateway.speech.text.spell.english.said import cardinal, digit_by_digit
from gateway.speech.text.spell.english.scan import Rule, Said

_HALF = r"(?:[ \u00a0\u202f]?(?P<{0}>[AaPp]\.?[Mm](?!\w)\.?))"
_CLOCK = r"(?P<hour{0}>\d{{1,2}})(?::(?P<minute{0}>[0-5]\d))?"
_TIME = re.compile(_CLOCK.format("") + _HALF.format("half") + r"?(?![:\d]|\.\d|[A-Za-z])")
_RANGE = re.compile(
    _CLOCK.format("")
    + _HALF.format("half")
    + r"?[ \u00a0]?(?:[–—-]|to\b)[ \u00a0]?"
    + _CLOCK.format("2")
    + _HALF.format("half2")
    + r"?(?![:\d]|\.\d|[A-Za-z])"
)
_LONG = re.compile(
    r"(?P<hour>\d{1,3}):(?P<minute>[0-5]\d):(?P<second>[0-5]\d)(?:[.,](?P<part>\d{1,3}))?(?![:\d])"
    + _HALF.format("half")
    + "?"
)
_OF_DAY = frozenset(("at", "by", "until", "till", "since", "before", "after", "from", "around", "about"))
_HOURS = re.compile(r"(?P<hour>\d{1,3})h ?(?P<minute>[0-5]?\d)(?:m|min)?(?: ?(?P<second>[0-5]?\d)s)?(?!\w)")
_MINUTES = re.compile(r"(?P<minute>\d{1,3})m ?(?P<second>[0-5]?\d)s(?!\w)")


def clock(hour: str, minute: str | None, second: str | None = None, *, half: str = "", plain: bool = False) -> str:
    """Return a time of day as words.

    Args:
        plain: an hour without minutes is said without "o'clock".
    """
    said = [cardinal(str(int(hour)))]
    if minute is not None and int(minute):
        said.append(f"oh {cardinal(minute[1])}" if minute[0] == "0" else cardinal(minute))
    elif not half and not plain:
        said.append("o'clock" if int(hour) <= 12 else "hundred hours")
    if second is not None and int(second):
        said.append(f"and {_counted(second, 'second')}")
    if half:
        said.append(f"{half[0].upper()}M")
    return " ".join(said)


def _counted(digits: str, unit: str) -> str:
    count = str(int(digits))
    return f"{cardinal(count)} {unit}" + ("" if count == "1" else "s")


def _half(text: str, end: int, half: str | None) -> str:
    """Return the dot that ends the sentence after `p.m.`."""
    return "." if half is not None and half.endswith(".") and sentence_ends(text, end) else ""


def _possible(hour: str, half: str | None) -> bool:
    return 1 <= int(hour) <= 12 if half is not None else int(hour) <= 24


def _time(text: str, at: int) -> Said | None:
    found = _TIME.match(text, at)
    if found is None or (found["minute"] is None and found["half"] is None):
        return None
    if not _possible(found["hour"], found["half"] if found["minute"] is None else None):
        return None
    half = found["half"] if found["half"] and 1 <= int(found["hour"]) <= 23 else found["half"] or ""
    return found.end(), clock(found["hour"], found["minute"], half=half) + _half(text, found.end(), found["half"])


def _range(text: str, at: int) -> Said | None:
    found = _RANGE.match(text, at)
    if found is None:
        return None
    timed = found["half"], found["half2"], found["minute"], found["minute2"]
    if not any(timed) or not (_possible(found["hour"], found["half"]) and _possible(found["hour2"], found["half2"])):
        return None
    if (
        "half" in found.groupdict()
        and not (found["half"] or found["half2"])
        and not (found["minute"] and found["minute2"])
    ):
        return None
    plain = bool(found["half"] or found["half2"])
    first = clock(found["hour"], found["minute"], half=found["half"] or "", plain=plain)
    second = clock(found["hour2"], found["minute2"], half=found["half2"] or "", plain=plain)
    return found.end(), f"{first} to {second}" + _half(text, found.end(), found["half2"])


def _long(text: str, at: int) -> Said | None:
    found = _LONG.match(text, at)
    if found is None:
        return None
    hour, minute, second, half = found["hour"], found["minute"], found["second"], found["half"]
    of_day = half is not None or word_before(text, at).lower() in _OF_DAY
    if of_day and int(hour) <= 24 and found["part"] is None:
        said = clock(str(int(hour)), minute, second, plain=True)
        return found.end(), said + (f" {half[0].upper()}M" if half else "") + _half(text, found.end(), half)
    return found.end("part") if found["part"] else found.end("second"), _duration(
        hour, minute, second, found["part"] or ""
    )


def _duration(hour: str, minute: str, second: str, part: str = "") -> str:
    said = [_counted(hour, "hour")] if int(hour) else []
    if int(minute):
        said.append(_counted(minute, "minute"))
    if part:
        said.append(f"{cardinal(str(int(second)))} point {digit_by_digit(part)} seconds")
    elif int(second) or not said:
        said.append(_counted(second, "second"))
    return " ".join(said)


def _hours(text: str, at: int) -> Said | None:
    found = _HOURS.match(text, at)
    if found is not None:
        return found.end(), _duration(found["hour"], found["minute"], found["second"] or "0")
    found = _MINUTES.match(text, at)
    return None if found is None else (found.end(), _duration("0", found["minute"], found["second"]))


FIGURES: tuple[Rule, ...] = (_long, _range, _time, _hours)

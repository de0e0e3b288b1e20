"""Says versions, sections, addresses of machines and books' numbers in English: v2.10.3-beta, 4.2.1, 192.168.0.1."""

from __future__ import annotations

import re

from gateway.speech.text.spell.english.around import word_before
from gateway.speech.text.spell.english.said import cardinal, digit_by_digit, year
from gateway.speech.text.spell.english.scan import Rule, Said

_TAIL = r"(?P<tail>(?:[-+](?=[a-z]*[a-z])[a-z]+(?:[.-]?\d+)*|(?<=\d)(?:rc|b|a|beta|alpha)\d+))?"
_VERSION = re.compile(rf"[vV](?:er\.? ?|\. ?)?(?P<parts>\d+(?:\.\d+)*(?:\.x)?){_TAIL}(?![\w]|\.\d)")
_DOTTED = re.compile(rf"(?P<parts>\d+(?:\.\d+){{2,}}(?:\.x)?){_TAIL}(?![\w]|\.\d)")
_TWO = re.compile(rf"(?P<parts>\d+\.\d+(?:\.x)?|\d+\.x){_TAIL}(?![\w%]|\.\d)")
_ISBN = re.compile(r"(?:97[89][- ]?)?\d{1,5}[- ]\d{1,7}[- ]\d{1,7}[- ][\dX](?!\w)|97[89]\d{10}(?!\w)|\d{9}[\dX](?!\w)")
_NAMED = frozenset(
    "version Version versions release Release releases Python python Java Node PHP Ruby Rust Go Django Ubuntu "
    "Debian Fedora "
    "iOS macOS Android Windows Linux kernel Firefox Chrome PostgreSQL Postgres MySQL SQLite Bluetooth USB HTML "
    "CSS HTTP "
    "build Build firmware patch Chapter chapter Section section sections Sections section, clause Clause paragraph "
    "Figure figure Table table Exercise exercise Lesson lesson Unit unit Appendix Equation equation §".split()
)
_PRODUCT_YEAR = re.compile(r"(?:19|20)\d\d$")


def _parts(found: re.Match[str], word: str = "point") -> str:
    parts = found["parts"].split(".")
    said = f" {word} ".join(_part(part, nth) for nth, part in enumerate(parts))
    tail = re.findall(r"[a-z]+|\d+", (found["tail"] or ""))
    return " ".join((said, *(cardinal(each) if each.isdigit() else each for each in tail)))


def _part(part: str, nth: int) -> str:
    if part == "x":
        return "x"
    return year(part) if nth == 0 and _PRODUCT_YEAR.match(part) else cardinal(part)


def _version(text: str, at: int) -> Said | None:
    found = _VERSION.match(text, at)
    if found is None or text[max(0, at - 1) : at].isalnum():
        return None
    if found["parts"].isdigit() and len(found["parts"]) > 3:
        return None
    word = "" if word_before(text, at).lower() == "version" else "version "
    return found.end(), word + _parts(found)


def _dotted(text: str, at: int) -> Said | None:
    found = _DOTTED.match(text, at)
    if found is None or text[max(0, at - 1) : at] in (".", ","):
        return None
    parts = found["parts"].split(".")
    machine = len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts)
    if machine and not (found["tail"] or word_before(text, at) in _NAMED):
        return found.end(), _parts(found, "dot")
    return found.end(), _parts(found)


def _two(text: str, at: int) -> Said | None:
    found = _TWO.match(text, at)
    if found is None or not (word_before(text, at) in _NAMED or found["tail"] or found["parts"].endswith("x")):
        return None
    fraction = found["parts"].split(".")[1]
    if fraction.startswith("0") and fraction != "0":
        return None
    return found.end(), _parts(found)


def _isbn(text: str, at: int) -> Said | None:
    if not re.search(r"ISBN(?:-1[03])?:? ?$", text[max(0, at - 10) : at]):
        return None
    found = _ISBN.match(text, at)
    if found is None:
        return None
    return found.end(), ", ".join(
        " ".join(digit_by_digit(each) if each.isdigit() else each for each in group)
        for group in re.split(r"[- ]", found[0])
    )


FIGURES: tuple[Rule, ...] = (_isbn, _dotted, _two)
WORDS: dict[str, tuple[Rule, ...]] = {"v": (_version,), "V": (_version,), "ver": (_version,), "Ver": (_version,)}

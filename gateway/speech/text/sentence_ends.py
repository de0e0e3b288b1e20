"""Corrects where a segmenter ends sentences, by rules that look at both sides of a mark.

The segmenter (sentencex) knows many languages and marks, and few abbreviations. At each full stop the word before it
and the word after it decide; at a mark of another kind the letter after it. Takes linear time: a rule looks at 40
characters on each side.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from gateway.speech.text.abbreviations import LANGUAGES, Abbreviations
from gateway.speech.text.joints import ends_sentence

_NEAR = 40
"""Characters on each side of a mark that a rule looks at: no abbreviation is longer."""
_MARK = re.compile(r"""(?<![.!?…])[.!?…]++['"”’»)\]]*+\s++""")
_FRENCH_MARK = re.compile(r"""(?<![.!?…])[.!?…]++(?:['"”’»)\]]|[ \u00a0\u202f]»)*+\s++""")
_OPENING = "\"'“”‘’„«»‹›([{¿¡—–- "
_QUOTES = "\"“„«‘'(—¿¡"
_CLOSING = "\"'”’»)] \u00a0\u202f"
_WORD = re.compile(r"[^\s(\[{\"“„«‘'’/]+$")
_FIRST = re.compile(r"[\w'’&]+")
_INITIALISM = re.compile(r"(?:[^\W\d_]{1,3}\.)+[^\W\d_]{1,3}\.?|[^\W\d_]\.?")
_INITIAL = re.compile(r"[^\W\d_]\.(?=\s|[^\W\d_]\.)")
_ROMAN = re.compile(r"[IVXLC]+")
_ZONES = frozenset(
    "est edt cst cdt mst mdt pst pdt gmt utc bst cet cest eastern central mountain pacific sharp".split()
)
_HALVES_OF_DAYS = frozenset(("a.m", "p.m", "am", "pm"))
_LINKING = frozenset("a.k.a i.e e.g viz cf d.h z.b u.a c.-à-d p.ej ej".split())
"""Always go on."""
_HEADS = frozenset(("p.s", "n.b", "p.p.s"))
"""Go on if they begin a sentence."""
_AFTER_NAMES = frozenset(("jr", "sr", "st", "pt", "ft", "rt", "esq"))
_UNITS = frozenset("ft in yd yds mi km cm mm kg mg lb lbs oz gal gals hr hrs min mins yr yrs".split())
_VOWELS = frozenset("aeiouyäöüáéíóúàèìòùâêîôû")


def sentence_ends(text: str, language: str, proposed: Collection[int]) -> Iterator[int]:
    """Yield the places where a sentence ends, in order: those proposed, corrected; each is behind its white space.

    Args:
        text: one line.
        language: a primary language subtag; in a language without rules only marks of other kinds are corrected.
        proposed: places where a segmenter cut, behind their white space.
    """
    rules = LANGUAGES.get(language)
    unseen = iter(sorted(proposed))
    cut = next(unseen, None)
    for mark in (_FRENCH_MARK if language == "fr" else _MARK).finditer(text):
        at = mark.end()
        while cut is not None and cut < at:  # a mark of another script, or one without white space after it
            if _ends_without(text, cut):
                yield cut
            cut = next(unseen, None)
        is_proposed = cut == at
        if is_proposed:
            cut = next(unseen, None)
        verdict = None if at >= len(text) else _verdict(text, mark.start(), mark.group().rstrip(), at, rules)
        if at < len(text) and (is_proposed if verdict is None else verdict):
            yield at
    while cut is not None:
        if _ends_without(text, cut):
            yield cut
        cut = next(unseen, None)


def _ends_without(text: str, at: int) -> bool:
    before = text[max(0, at - _NEAR) : at].rstrip()[-1:]
    return bool(before) and not before.isalnum() and before not in ",;:-–—" and ends_sentence(text, at)


def _verdict(text: str, start: int, mark: str, at: int, rules: Abbreviations | None) -> bool | None:
    """Return whether a sentence ends at a mark; None leaves it to the segmenter."""
    ahead = text[at : at + _NEAR]
    opened = ahead.lstrip(_OPENING)
    follows = opened[:1]
    if not follows:
        return None
    quoted = len(opened) < len(ahead)
    bare = mark.rstrip(_CLOSING)
    if bare != ".":
        if follows.islower():
            return False
        # `…` may go on within a sentence; `!` and `?` before a capital end one.
        return True if follows.isupper() or follows.isdigit() or quoted else None
    behind = text[max(0, start - _NEAR) : start]
    if rules is None:
        return None
    return _full_stop(behind, ahead, opened, closed=len(bare) < len(mark), rules=rules)


def _full_stop(behind: str, ahead: str, opened: str, *, closed: bool, rules: Abbreviations) -> bool | None:
    """Return whether a full stop ends a sentence; None leaves it to the segmenter.

    Args:
        behind: the text before it.
        ahead: the text after it, `opened` without its opening quotes and brackets.
        closed: a quote or bracket closes after it.
    """
    found = _WORD.search(behind)
    word = found.group() if found else ""
    before = behind[: len(behind) - len(word)].split()
    lower = word.lower().rstrip(".")
    first = _FIRST.match(opened)
    next_word = first.group().lower() if first else ""
    follows, quoted = opened[0], len(opened) < len(ahead)
    initials = bool(_INITIALISM.fullmatch(word))
    measured = lower in _UNITS and bool(before) and before[-1][-1:].isdigit()
    known = lower in rules.known and not (lower in rules.words and (word.islower() or rules.ordinals) and not measured)
    short = known or initials or _looks_abbreviated(word)
    starts = next_word in rules.starters or next_word.partition("'")[0] + "'" in rules.starters
    if follows.islower():
        return None if closed or (not short and (len(word) > 4 or not word.isalpha())) else False
    if lower in _LINKING or (lower in _HEADS and not before):
        return False
    if initials and word[:1].isupper() and _INITIAL.match(opened):
        return False
    if closed and not initials:
        return True
    if rules.ordinals and ((word.isdigit() and len(word) <= 2) or (_ROMAN.fullmatch(word) and len(word) > 1)):
        return starts
    if follows.isdigit() and not quoted:
        number = lower in rules.known or short or (rules.ordinals and lower.endswith("str"))
        return not number or lower == "etc"
    if quoted and ahead[0] in _QUOTES:
        return False if lower in rules.titles else (True if not short or starts else None)
    if lower in rules.titles and not (lower in _AFTER_NAMES and _is_name(before)):
        return False
    if lower in rules.closing or lower == "no" or measured:
        return True
    if lower in _HALVES_OF_DAYS:
        return next_word not in _ZONES
    if lower in rules.references and len(next_word) <= 2 and opened[0].isupper() and not starts:
        return False
    return starts if short else True


def _is_name(before: list[str]) -> bool:
    """Return whether the last word is a name, after which `Jr.` and `St.` may end a sentence."""
    if not before or before[-1].endswith(","):
        return False
    last = before[-1]
    return (last[0].isupper() or last[0].isdigit()) and (len(before) > 1 or last.istitle())


def _looks_abbreviated(word: str) -> bool:
    """Return whether letters have no vowel, or a full stop among them, so that they are no word."""
    letters = word.strip(".")
    if "." in letters:
        parts = letters.split(".")
        return all(len(part) <= 3 and not any(map(str.isdigit, part)) for part in parts)
    if not 1 < len(letters) <= 4 or not letters.isalpha() or letters.isupper():
        return False
    return not set(letters.lower()) & _VOWELS

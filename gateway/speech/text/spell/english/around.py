"""Looks at the neighbours of a place in a text: the word before, the word after, whether a sentence ends there."""

from __future__ import annotations

import re

_SEEN_CHARS = 40
_BEFORE = re.compile(r"([^\W_][\w.'’&]*)[\s\u00a0(\[“\"‘:]*$")
_AFTER = re.compile(r"[ \u00a0-]?([^\W\d_][\w'’]*)")
_NEXT = re.compile(r"[\"')\]”’]*(?P<gap>\s*)[\"'(\[“‘]?(?P<word>[\w’']*)")
_NAMES = frozenset(
    "January February March April May June July August September October November December Monday Tuesday Wednesday "
    "Thursday Friday Saturday Sunday Eastern Central Pacific Mountain Greenwich".split()
)
STARTERS = frozenset(
    "The He She It It's They We I You This That These Those A An In On At But And So If When There His Her Their My "
    "Our Your Then After Before What Who Why How No Yes Not One Some Many Most All As For From With By To Is Are Was "
    "Were Do Does Did Can Could Will Would Please Now Here Its He's She's They're We're I'm You're That's "
    "There's".split()
)
"""Words that begin sentences and no names."""

FUNCTION_WORDS = frozenset(
    "of to in on at by for and or but per from with is are was were has have had will would can the as than a an each "
    "every more less plus minus so when if while that which after before into over under each away ago later".split()
)


def word_before(text: str, at: int) -> str:
    """Return the word that ends before `at`, with its dots; "" if none is near."""
    found = _BEFORE.search(text[max(0, at - _SEEN_CHARS) : at].rpartition("\n")[2])
    return "" if found is None else found[1]


def word_after(text: str, at: int) -> str:
    """Return the word that begins at `at` or after one space; "" if there is none."""
    found = _AFTER.match(text, at)
    return "" if found is None else found[1][:_SEEN_CHARS]


def char_before(text: str, at: int) -> str:
    """Return the last character before `at` that is no space; "" at the beginning of a line."""
    before = text[max(0, at - 8) : at].rstrip(" \u00a0")
    return before[-1:].replace("\n", "")


def char_after(text: str, at: int) -> str:
    """Return the first character from `at` on that is no space; "" at the end of a line."""
    after = text[at : at + 8].lstrip(" \u00a0")
    return after[:1].replace("\n", "")


def sentence_ends(text: str, at: int, *, names_follow: bool = False) -> bool:
    """Return whether a dot that was read with the word before `at` also ends the sentence.

    Args:
        names_follow: a name can follow such an abbreviation, so that only a word that begins sentences shows an end.
    """
    found = _NEXT.match(text, at)
    if found is None:
        return False
    if not found["word"]:
        return "\n" in found["gap"] or found.end() == len(text)
    word = found["word"].replace("’", "'")
    if "\n" in found["gap"]:
        return True
    if not found["gap"] or not word[0].isupper() or word in _NAMES:
        return False
    if names_follow:
        return word in STARTERS
    return not (word.isupper() and len(word) > 1)

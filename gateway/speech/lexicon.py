"""How words are spoken that are written otherwise: a dictionary applied to text.

A text is read as tokens: words, the space between them, single marks. An entry is a run of tokens, so it matches whole
words only, and where several match, the longest. The entries form a tree by tokens; each token of a text begins one
walk down that tree, at most as deep as the longest entry, whatever the text and however many entries: linear time.

Words are runs of letters, digits and their combining marks, with the apostrophes within (`don't`); a possessive `'s`
is a token of its own. Scripts that put no space between words (Han, Hiragana, Thai, Lao, Khmer, Myanmar) have one
token per character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec

from gateway.errors import InvalidInput
from gateway.speech.language import language_matches, normalize_language
from gateway.speech.text import clean, has_speech

MAX_ENTRIES = 2_000
MAX_PHRASE_CHARS = 100
MAX_RESPELLING_CHARS = 200
MAX_GROWTH = 4
"""So many times as long as it was written may a text become, beyond some room for short ones."""
_ROOM_CHARS = 10_000
ANY = "*"


def _marks() -> str:
    """The combining marks of the blocks that have any, as the inside of a character class."""
    blocks = ((0x0300, 0x2000), (0x20D0, 0x2100), (0xA600, 0xAC00), (0x10A00, 0x11FFF))
    marks = [c for lo, hi in blocks for c in range(lo, hi) if unicodedata.category(chr(c)) in ("Mn", "Mc", "Me")]
    ranges: list[list[int]] = []
    for code in marks:
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\U{lo:08x}-\\U{hi:08x}" for lo, hi in ranges) + "\u200c\u200d\ufe00-\ufe0f"


_MARK = _marks()
_UNSPACED = (
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6\u1000-\u102a\u1780-\u17b3"
    "\u3005-\u3007\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUN = rf"(?:[^\W{_UNSPACED}]+|[{_MARK}]+)++"
_POSSESSIVE = rf"['’][sS](?![\w{_MARK}])"
_A_WORD = rf"{_POSSESSIVE}|{_RUN}(?:(?!{_POSSESSIVE})['’]{_RUN})*+|[{_UNSPACED}][{_MARK}]*+"
_WORD = re.compile(_A_WORD)
_TOKEN = re.compile(rf"(?P<word>{_A_WORD})|(?P<paragraph>\s*\n\s*\n\s*+)|(?P<space>\s+)|(?P<other>.)", re.DOTALL)


class Pronunciation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a dictionary.

    Args:
        phrase: a word or several, as they are written.
        respelling: what is spoken instead, in the letters of the language.
        language: BCP 47; `*` for every language.
    """

    phrase: str
    respelling: str
    language: str = ANY


class Replaced(msgspec.Struct, frozen=True):
    """A place in the spoken text, from `start` to before `end`, and what was written there."""

    start: int
    end: int
    written: str


class Respelled(msgspec.Struct, frozen=True):
    """A text as it is spoken, and where it differs from what was written, in order."""

    text: str
    replaced: tuple[Replaced, ...]


def checked(entry: Pronunciation) -> Pronunciation:
    """An entry in its usual form: cleaned, single spaces, the language's usual tag.

    Raises:
        InvalidInput: what is wrong with it, and what is allowed.
    """
    phrase, respelling = " ".join(clean(entry.phrase).split()), " ".join(clean(entry.respelling).split())
    for name, value, most in (("phrase", phrase, MAX_PHRASE_CHARS), ("respelling", respelling, MAX_RESPELLING_CHARS)):
        if not has_speech(value):
            raise InvalidInput(f"the {name} {value[:40]!r} has no letter and no digit")
        if len(value) > most:
            raise InvalidInput(f"the {name} {value[:40]!r}... has {len(value)} characters; at most {most} are allowed")
    language = entry.language.strip()
    return Pronunciation(phrase, respelling, ANY if language == ANY else normalize_language(language))


def identity(entry: Pronunciation) -> tuple[str, bool, tuple[str, ...]]:
    """What makes two entries the same one: their language and what they match."""
    exact = has_capitals_within(entry.phrase)
    return entry.language, exact, _path(entry.phrase, exact)


def has_capitals_within(phrase: str) -> bool:
    """Whether a word of it has a capital behind its first letter (`NaCl`, `US`): such an entry minds the case."""
    return any(any(char.isupper() for char in word[1:]) for word in phrase.split())


class Lexicon:
    """Dictionary entries of one language, ready to be applied."""

    def __init__(self, entries: Iterable[Pronunciation]) -> None:
        """Entries as `checked` gives them; of several for the same words the last one holds."""
        self._exact: _Node = _Node()
        self._folded: _Node = _Node()
        self._first: set[str] = set()
        self._from_marks = False
        for entry in entries:
            exact = has_capitals_within(entry.phrase)
            node = self._exact if exact else self._folded
            path = _path(entry.phrase, exact)
            for token in path:
                node = node.next.setdefault(token, _Node())
            node.respelling = entry.respelling
            self._first.add(path[0])
            self._from_marks |= _WORD.match(entry.phrase) is None

    def respell(self, text: str) -> Respelled | None:
        """The text with every match replaced; None where there is none.

        Args:
            text: cleaned, of any length.

        Raises:
            InvalidInput: the replacements would make it many times as long.
        """
        parts: list[str] = []
        replaced: list[Replaced] = []
        read = length = 0
        most = MAX_GROWTH * len(text) + _ROOM_CHARS
        for start, end, respelling in self._matches(text):
            parts += (text[read:start], respelling)
            length += start - read + len(respelling)
            read = end
            if length > most:
                raise InvalidInput(f"your pronunciations make the text more than {MAX_GROWTH} times as long")
            replaced.append(Replaced(length - len(respelling), length, text[start:end]))
        if not replaced:
            return None
        parts.append(text[read:])
        return Respelled("".join(parts), tuple(replaced))

    def _matches(self, text: str) -> Iterator[tuple[int, int, str]]:
        if not self._first:
            return
        # Most words begin no entry, so words are looked at one by one and what follows only where one does.
        pattern = _TOKEN if self._from_marks else _WORD
        at: int | None = 0
        while at is not None:
            found = pattern.finditer(text, at)
            at = None
            for match in found:
                token = match.group()
                if _plain(token) not in self._first and _fold(token) not in self._first:
                    continue
                end, respelling = self._longest(text, match)
                if end:
                    yield match.start(), end, respelling
                    at = end
                    break

    def _longest(self, text: str, first: re.Match[str]) -> tuple[int, str]:
        """Where the longest entry that begins with this token ends, and its respelling; 0 where none matches."""
        longest, respelling = 0, ""
        for root, exact in ((self._folded, False), (self._exact, True)):
            match: re.Match[str] | None = first
            node: _Node | None = root
            while match is not None and node is not None:
                node = node.next.get(_token(match, exact))
                if node is not None:
                    if node.respelling and match.end() >= longest:
                        longest, respelling = match.end(), node.respelling
                    match = _TOKEN.match(text, match.end())
        return longest, respelling


class _Node:
    """A place in the tree of entries; `respelling` is set where one ends."""

    __slots__ = ("next", "respelling")

    def __init__(self) -> None:
        self.next: dict[str, _Node] = {}
        self.respelling = ""


def _token(match: re.Match[str], exact: bool) -> str:
    kind = match.lastgroup
    if kind == "space":
        return " "
    if kind == "paragraph":
        return "\n"
    return _plain(match.group()) if exact else _fold(match.group())


def _plain(token: str) -> str:
    return token.replace("’", "'")


@lru_cache(maxsize=8192)
def _fold(token: str) -> str:
    return _plain(unicodedata.normalize("NFC", token.casefold()))


def _path(phrase: str, exact: bool) -> tuple[str, ...]:
    return tuple(_token(match, exact) for match in _TOKEN.finditer(phrase))


def for_language(entries: Iterable[Pronunciation], language: str) -> Lexicon:
    """The entries that hold for a language, those of the narrower tag over those of the wider one."""
    holding = [entry for entry in entries if entry.language == ANY or language_matches(language, entry.language)]
    holding.sort(key=lambda entry: 0 if entry.language == ANY else 1 + entry.language.count("-"))
    return Lexicon(holding)

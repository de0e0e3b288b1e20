"""Applies a pronunciation dictionary to text: replaces words by their respellings.

A text is read as tokens: words, the space between them, single marks. An entry is a sequence of tokens, so it matches
whole words only; the longest match is taken. Words that begin no entry are skipped. From a word that begins one, tokens
are read as long as they occur in some entry, and an automaton finds the entries among them in one pass. This takes
linear time for any text and any number of entries.

Words are runs of letters, digits and their combining marks, with the apostrophes within (`don't`); a possessive `'s`
is a token of its own. Scripts that put no space between words (Han, Hiragana, Thai, Lao, Khmer, Myanmar) have one
token per character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

import msgspec

from gateway.errors import InvalidInput
from gateway.speech.text.automaton import Automaton
from gateway.speech.text.cleaning import clean, has_speech
from gateway.speech.text.language import language_matches, normalize_language

MAX_ENTRIES = 2_000
MAX_PHRASE_CHARS = 100
MAX_RESPELLING_CHARS = 200
MAX_GROWTH = 4
"""The most times a text may grow, beyond _ROOM_CHARS."""
_ROOM_CHARS = 10_000
ANY = "*"
_RUN_TOKENS = 20_000  # tokens that are searched at once
_FOLDED_FROM = 4  # case folding and composition make one letter of at most this many


def _marks() -> str:
    """Return the combining marks of the blocks that have any, as the inside of a character class."""
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
        phrase: one or more words, as they are written.
        respelling: the text that is spoken instead, in the letters of the language.
        language: BCP 47; `*` for every language.
    """

    phrase: str
    respelling: str
    language: str = ANY


class Replaced(msgspec.Struct, frozen=True):
    """A replacement: the text from `start` to before `end` is spoken instead of `written`."""

    start: int
    end: int
    written: str


class Respelled(msgspec.Struct, frozen=True):
    """A text as it is spoken, with its replacements in order."""

    text: str
    replaced: tuple[Replaced, ...]


def checked(entry: Pronunciation) -> Pronunciation:
    """Return an entry in its usual form: cleaned, single spaces, the language's usual tag.

    Raises:
        InvalidInput: the entry is not allowed; says why, and what is allowed.
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
    """Return the identity of an entry: its language and the tokens it matches."""
    exact = has_capitals_within(entry.phrase)
    return entry.language, exact, _path(entry.phrase, exact)


def has_capitals_within(phrase: str) -> bool:
    """Return whether a word has a capital after its first letter (`NaCl`, `US`): such an entry is case-sensitive."""
    return any(any(char.isupper() for char in word[1:]) for word in phrase.split())


class Lexicon:
    """Dictionary entries of one language, ready to be applied. Pickled as its entries.

    Args:
        entries: as returned by `checked`; of several entries for the same words the last one is used.

    Attributes:
        entries: all entries.
        deepest: tokens of the longest entry.
    """

    def __init__(self, entries: Iterable[Pronunciation]) -> None:
        self.entries = tuple(entries)
        self._folded = _Entries(entry for entry in self.entries if not has_capitals_within(entry.phrase))
        self._exact = _Entries((entry for entry in self.entries if has_capitals_within(entry.phrase)), exact=True)
        both = (self._folded, self._exact)
        self._from_marks = any(each.from_marks for each in both)
        self.deepest = max(each.deepest for each in both)
        self._longest_token = _FOLDED_FROM * max(each.longest_token for each in both)

    def __reduce__(self) -> tuple[type[Lexicon], tuple[tuple[Pronunciation, ...]]]:
        return Lexicon, (self.entries,)

    def respell(self, text: str) -> Respelled | None:
        """Return the text with every match replaced; None if nothing matches.

        Args:
            text: cleaned, of any length.

        Raises:
            InvalidInput: the replacements make it more than MAX_GROWTH times as long.
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
                raise InvalidInput(
                    f"your pronunciations make the text more than {MAX_GROWTH} times as long; shorten the respellings"
                )
            replaced.append(Replaced(length - len(respelling), length, text[start:end]))
        if not replaced:
            return None
        parts.append(text[read:])
        return Respelled("".join(parts), tuple(replaced))

    def _matches(self, text: str) -> Iterator[tuple[int, int, str]]:
        if not self.entries:
            return
        # Most words begin no entry, so other tokens are read only after a word that does.
        pattern = _TOKEN if self._from_marks else _WORD
        at: int | None = 0
        while at is not None:
            found = pattern.finditer(text, at)
            at = None
            for match in found:
                if self._begins(match.group()):
                    run = _Run(self, text, match)
                    yield from run.matches()
                    at = run.end
                    break

    def _begins(self, token: str) -> bool:
        if len(token) > self._longest_token:
            return False
        return _plain(token) in self._exact.first or _fold(token) in self._folded.first

    def known(self, match: re.Match[str]) -> tuple[str | None, str | None]:
        """Return a token as it is in case-insensitive and in case-sensitive entries; None if no entry has it."""
        if match.end() - match.start() > self._longest_token and match.lastgroup not in ("space", "paragraph"):
            return None, None
        folded, plain = _token(match, exact=False), _token(match, exact=True)
        return (
            folded if folded in self._folded.tokens else None,
            plain if plain in self._exact.tokens else None,
        )

    def longest(self, folded: list[str | None], exact: list[str | None]) -> list[tuple[int, str]]:
        """Return for each place of a run the length in tokens and the respelling of the longest entry, else (0, "").

        Of two entries of the same length the case-sensitive one is used.
        """
        other = self._exact.longest(exact)
        return [max(one, two, key=_length) for one, two in zip(other, self._folded.longest(folded), strict=True)]


class _Entries:
    """The case-sensitive entries, or the others."""

    def __init__(self, entries: Iterable[Pronunciation], exact: bool = False) -> None:
        held = list(entries)
        paths = [_path(entry.phrase, exact) for entry in held]
        self.first = {path[0] for path in paths}
        self.tokens = {token for path in paths for token in path}
        self.from_marks = any(_WORD.match(entry.phrase) is None for entry in held)
        self.deepest = max(map(len, paths), default=0)
        self.longest_token = max(map(len, self.tokens), default=0)
        self._automaton = Automaton(paths)
        self._results = [(len(path), entry.respelling) for path, entry in zip(paths, held, strict=True)]
        self._results.append((0, ""))  # for the number -1: no entry

    def longest(self, tokens: list[str | None]) -> list[tuple[int, str]]:
        """Return for each token the length and the respelling of the longest entry that begins there."""
        results = self._results
        return [results[number] for number in self._automaton.longest(tokens)]


class _Run:
    """A run of tokens that all occur in some entry; every match is inside one run.

    Attributes:
        end: position in the text at which the search continues.
    """

    def __init__(self, lexicon: Lexicon, text: str, first: re.Match[str]) -> None:
        self._lexicon = lexicon
        self._spans: list[tuple[int, int]] = []
        self._folded: list[str | None] = []
        self._exact: list[str | None] = []
        self._whole = True
        match: re.Match[str] | None = _TOKEN.match(text, first.start())
        while match is not None:
            if len(self._spans) == _RUN_TOKENS + lexicon.deepest:
                self._whole = False  # tokens after the first _RUN_TOKENS are read again
                break
            folded, exact = lexicon.known(match)
            if folded is None and exact is None:
                break
            self._spans.append(match.span())
            self._folded.append(folded)
            self._exact.append(exact)
            match = _TOKEN.match(text, match.end())
        self.end = self._spans[-1][1]

    def matches(self) -> Iterator[tuple[int, int, str]]:
        """Yield begin, end and respelling of each match, in order."""
        longest = self._lexicon.longest(self._folded, self._exact)
        place, end = 0, len(self._spans) if self._whole else _RUN_TOKENS
        while place < end:
            length, respelling = longest[place]
            if length:
                yield self._spans[place][0], self._spans[place + length - 1][1], respelling
            place += length or 1
        self.end = self._spans[place - 1][1]


def _length(result: tuple[int, str]) -> int:
    return result[0]


def _token(match: re.Match[str], exact: bool) -> str:
    kind = match.lastgroup
    if kind == "space":
        return " "
    if kind == "paragraph":
        return "\n"
    return _plain(match.group()) if exact else _fold(match.group())


def _plain(token: str) -> str:
    return token.replace("’", "'")


def _fold(token: str) -> str:
    if token.isascii():
        return token.lower()
    return _plain(unicodedata.normalize("NFC", token.casefold()))


def _path(phrase: str, exact: bool) -> tuple[str, ...]:
    return tuple(_token(match, exact) for match in _TOKEN.finditer(phrase))


def for_language(entries: Iterable[Pronunciation], language: str) -> Lexicon:
    """Return the entries for a language; an entry with a narrower tag replaces one with a wider tag."""
    holding = [entry for entry in entries if entry.language == ANY or language_matches(language, entry.language)]
    holding.sort(key=lambda entry: 0 if entry.language == ANY else 1 + entry.language.count("-"))
    return Lexicon(holding)

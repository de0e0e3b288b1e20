"""Splits plain text into paragraphs and sentences."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import sentencex  # type: ignore[import-untyped]

from gateway.speech.text.cleaning import has_speech
from gateway.speech.text.sentence_ends import sentence_ends

# Characters given to the segmenter at once, and the most if it finds no end of a sentence: it takes quadratic time on
# Chinese text and on unpaired quotes, and holds the interpreter's lock.
_WINDOW = 1024
_WIDEST = 2048
_ENDED = ".!?…:;,。！？：；，\"'”’»)]"
_GOES_ON = ",;:)]\"'”’»"
"""Marks at the end of a line after which a lower-case letter continues the sentence."""
_HYPHENATED = re.compile(r"(?P<head>[^\W\d_]+)-$")
_COMPOUND_HEADS = frozenset(
    "one two three four five six seven eight nine ten twenty thirty forty fifty sixty seventy eighty ninety self well "
    "half all high low long short full part cross ever mid ex non so old new good bad double single first second third "
    "left right great mother father brother sister son daughter co semi anti pre post vice".split()
)
"""First parts of English words that keep their hyphen where a line ends after it."""
_LONGEST_HEAD = 40
_WRAP_WIDTH = 60  # shorter lines are verses, titles or list items, not wrapped prose


def paragraphs(text: str) -> Iterator[list[str]]:
    """Split text at blank lines; a line without letter or digit (a row of stars) is a paragraph of its own.

    Yields the runs of each paragraph, white space collapsed: lines that were wrapped by a text editor are joined to
    one run; verses, titles and list items stay runs of their own.
    """
    lines: list[str] = []
    for line in text.split("\n"):
        words = " ".join(line.split())
        if words and has_speech(words):
            lines.append(words)
            continue
        if lines:
            yield _unwrap(lines)
            lines = []
        if words:
            yield [words]
    if lines:
        yield _unwrap(lines)


def sentences(run: str, language: str) -> Iterator[str]:
    """Yield the sentences of a run, without surrounding white space and never empty.

    Takes linear time. A sentence may have any length; its end is searched window by window.

    Args:
        language: BCP 47; a language the segmenter has no rules for falls back to general ones.
    """
    primary = language.partition("-")[0].lower()
    begin = 0
    for at in (*sentence_ends(run, primary, _cuts(run, primary)), len(run)):
        if stripped := run[begin:at].strip():
            yield stripped
        begin = at


def _cuts(run: str, primary: str) -> list[int]:
    """Return where the segmenter cuts the run, behind the white space at each cut."""
    cuts: list[int] = []
    start = 0  # of the window
    size = _WINDOW
    while start < len(run):
        window = run[start : start + size]
        pieces = sentencex.segment(primary, window)
        if start + size < len(run):
            pieces = pieces[:-1]  # the last one may continue after the window
            if not pieces:
                if size < _WIDEST:
                    size *= 2
                else:
                    start += _cut(window)
                continue
        size = _WINDOW
        for piece in pieces:
            start += len(piece)
            cuts.append(start + len(run[start : start + _WINDOW]) - len(run[start : start + _WINDOW].lstrip()))
    return cuts


def paragraph_sentences(runs: list[str], language: str) -> Iterator[str]:
    """Yield the sentences of a paragraph; one that ends with its line but without a mark keeps the line break.

    The engine can then pause after a title or a list item that shares a chunk with the next sentence.
    """
    for nth, run in enumerate(runs, 1):
        if nth == len(runs) or run[-1] in _ENDED:
            yield from sentences(run, language)
            continue
        held = ""
        for sentence in sentences(run, language):
            if held:
                yield held
            held = sentence
        yield held + "\n"


def _cut(window: str) -> int:
    """Return the begin of the next window after one without an end of a sentence: at a space if there is one."""
    space = window.rfind(" ", len(window) // 2)
    return space if space > 0 else len(window)


def _unwrap(lines: list[str]) -> list[str]:
    """Join lines that were wrapped: the next word had no room, or continues in lower case."""
    if len(lines) == 1:
        return lines
    width = max(len(line) for line in lines)
    runs = [[lines[0]]]
    last = lines[0]
    for line in lines[1:]:
        first_word = line.partition(" ")[0]
        wrapped = width >= _WRAP_WIDTH and len(last) + 1 + len(first_word) > width
        goes_on = line[0].islower() and (last[-1] not in _ENDED or last[-1] in _GOES_ON)
        if wrapped or goes_on:
            runs[-1].append(line)
        else:
            runs.append([line])
        last = line
    return [_rejoined(run) for run in runs]


def _rejoined(lines: list[str]) -> str:
    """Join the lines of one run; a word that was cut at a line's end loses its hyphen, unless it is a compound."""
    parts = [lines[0]]
    for last, line in itertools.pairwise(lines):
        cut = _HYPHENATED.search(last[-_LONGEST_HEAD:])
        if cut is None or not line[0].islower():
            parts += (" ", line)
        elif cut["head"].lower() in _COMPOUND_HEADS:
            parts.append(line)
        else:
            parts[-1] = parts[-1][:-1]
            parts.append(line)
    return "".join(parts)

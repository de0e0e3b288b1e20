"""Paragraphs and sentences of plain text."""

from __future__ import annotations

from collections.abc import Iterator

import sentencex  # type: ignore[import-untyped]

from gateway.speech.text.cleaning import has_speech
from gateway.speech.text.joints import ends_sentence

# Characters the segmenter sees at once, and the most where it finds no end of a sentence: its time is quadratic on
# Chinese text and on unpaired quotes, and it holds the interpreter's lock meanwhile.
_WINDOW = 1024
_WIDEST = 2048
_ENDED = ".!?…:;,。！？：；，\"'”’»)]"
_WRAP_WIDTH = 60  # lines shorter than this are verses, titles or list items, not wrapped prose


def paragraphs(text: str) -> Iterator[list[str]]:
    """Split at blank lines; a line without letter or digit (a row of stars) stands alone.

    Yields the runs of each paragraph, white space collapsed: lines that only a text editor broke are joined to
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
    """The sentences of a run, without surrounding white space and never empty.

    Takes linear time. A sentence may have any length; its end is looked for window by window.

    Args:
        language: BCP 47; a language the segmenter has no rules for falls back to general ones.
    """
    primary = language.partition("-")[0].lower()
    begin = start = 0  # of the sentence, and of what is looked at
    size = _WINDOW
    while start < len(run):
        window = run[start : start + size]
        pieces = sentencex.segment(primary, window)
        if start + size < len(run):
            pieces = pieces[:-1]  # it may go on behind the window
            if not pieces:
                if size < _WIDEST:
                    size *= 2
                else:
                    start += _cut(window)
                continue
        size = _WINDOW
        for piece in pieces:
            start += len(piece)
            if not ends_sentence(run, start):
                continue
            if stripped := run[begin:start].strip():
                yield stripped
            begin = start


def paragraph_sentences(runs: list[str], language: str) -> Iterator[str]:
    """The sentences of a paragraph; one that ends with its line but without a mark keeps the line break.

    An engine may then pause after a title or a list item that shares a chunk with what follows.
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
    """Where the next window begins behind one without an end of a sentence: not within a word, if that can be had."""
    space = window.rfind(" ", len(window) // 2)
    return space if space > 0 else len(window)


def _unwrap(lines: list[str]) -> list[str]:
    """Join lines that were broken to fit a width: the next word had no room, or goes on in lower case."""
    if len(lines) == 1:
        return lines
    width = max(len(line) for line in lines)
    runs = [[lines[0]]]
    last = lines[0]
    for line in lines[1:]:
        first_word = line.partition(" ")[0]
        wrapped = width >= _WRAP_WIDTH and len(last) + 1 + len(first_word) > width
        if wrapped or (line[0].islower() and last[-1] not in _ENDED):
            runs[-1].append(line)
        else:
            runs.append([line])
        last = line
    return [" ".join(run) for run in runs]

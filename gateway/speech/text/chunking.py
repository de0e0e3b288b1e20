"""Cuts a paragraph into chunks: pieces that an engine speaks at once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

from backends.interface import ChunkRule, Limit
from gateway.speech.text.cleaning import has_speech
from gateway.speech.text.graphemes import cut_before

Ending: TypeAlias = Literal["paragraph", "sentence", "clause", "phrase"]
"""The kind of boundary that ended a chunk; it decides the pause after the chunk."""

# Western marks end a clause only before white space: a comma between digits or a colon in a time ends none.
_CLAUSE = re.compile(
    r"(?P<strong>[;:!?…؛]+['\"”’)\]»]*(?=\s)|[；：—]|\s[–-](?=\s))|[,،၊]['\"”’)\]»]*(?=\s)|[，、]|[)\]»”](?=\s)"
)
_NO_SPACE_AFTER = "。！？．｡」』）】…"


def chunk_paragraph(sentences: Iterable[str], rule: ChunkRule) -> Iterator[tuple[str, Ending]]:
    """Group the sentences of one paragraph into chunks that obey the rule.

    A chunk shorter than `min_chars` takes the next sentence, too; others are filled up to `target_chars`. A sentence
    longer than `max` is split at clauses, else at words, else between grapheme clusters. Yields each text with its
    ending; the last one is `paragraph`. Takes linear time.
    """
    waiting: tuple[str, Ending] | None = None
    for piece, ending in _merge(sentences, rule):
        if waiting is not None:
            yield waiting
        waiting = (piece, ending)
    if waiting is not None:
        yield waiting[0], "paragraph"


def split_text(text: str, rule: ChunkRule) -> Iterator[tuple[str, Ending]]:
    """Split one text so that no piece exceeds `rule.max`; a text that fits is one piece that ends as a sentence."""
    start, end = 0, len(text)
    while not _fits(text, start, rule.max):
        limit = _reach(text, start, rule.max) - start
        left = end - start
        ideal = math.ceil(left / math.ceil(left / limit))
        at, ending = _best_cut(text, start, limit, ideal)
        piece = text[start:at].strip()
        if piece:
            yield piece, ending
        start = at
        while start < end and text[start].isspace():
            start += 1
    piece = text[start:].strip()
    if piece:
        yield piece, "sentence"


def _merge(sentences: Iterable[str], rule: ChunkRule) -> Iterator[tuple[str, Ending]]:
    current: list[str] = []
    chars = size = 0
    for sentence in sentences:
        own = _size(sentence, rule.max)
        if current:
            gap = _gap(current[-1], sentence)
            room = size + len(gap) + own <= rule.max.n
            wanted = (
                chars < rule.min_chars
                or chars + len(gap) + len(sentence) <= rule.target_chars
                or not has_speech(sentence)  # a dash or quote alone is no chunk
            )
            if room and wanted:
                current += (gap, sentence)
                chars += len(gap) + len(sentence)
                size += len(gap) + own
                continue
            yield "".join(current).rstrip(), "sentence"
            current = []
        if own > rule.max.n:
            yield from split_text(sentence, rule)
            continue
        current, chars, size = [sentence], len(sentence), own
    if current:
        yield "".join(current).rstrip(), "sentence"


def _gap(before: str, after: str) -> str:
    if before[-1] == "\n" or (before[-1] in _NO_SPACE_AFTER and not after[0].isascii()):
        return ""
    return " "


def _best_cut(text: str, start: int, limit: int, ideal: int) -> tuple[int, Ending]:
    """Return the end of a piece that begins at `start`: near `ideal` characters, at most `limit`."""
    window = text[start : start + limit + 1]  # one more character, for the white space after a mark
    best, best_cost = 0, math.inf
    for mark in _CLAUSE.finditer(window, max(1, ideal // 3)):
        if mark.end() > limit:
            break
        cost = abs(mark.end() - ideal) * (0.5 if mark["strong"] else 1.0)
        if cost < best_cost:
            best, best_cost = mark.end(), cost
    if best:
        return start + best, "clause"
    before = window.rfind(" ", 1, ideal + 1)
    after = window.find(" ", ideal)
    spaces = [place for place in (before, after) if place > 0]
    if spaces:
        return start + min(spaces, key=lambda place: abs(place - ideal)), "phrase"
    at = cut_before(text, start + ideal, start)
    if at - start < ideal // 2:
        at = cut_before(text, start + limit, start)
    return at, "phrase"


def _size(text: str, limit: Limit) -> int:
    if limit.unit == "chars" or text.isascii():
        return len(text)
    return len(text.encode())


def _fits(text: str, start: int, limit: Limit) -> bool:
    left = len(text) - start
    if left > limit.n or limit.unit == "chars":
        return left <= limit.n
    return _size(text[start:], limit) <= limit.n


def _reach(text: str, start: int, limit: Limit) -> int:
    """Return the furthest end of a piece from `start`; at least one character."""
    end = start + limit.n
    if limit.unit == "chars":
        return end
    window = text[start:end]
    if window.isascii():
        return end
    whole = window.encode()[: limit.n].decode("utf-8", "ignore")
    return start + max(1, len(whole))

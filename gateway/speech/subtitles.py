"""Makes subtitles from chunk times: SubRip and WebVTT.

A cue has at most two lines of 42 columns, as broadcasters use (East Asian characters take two columns). A longer chunk
is split between words: at their times if these are known, otherwise each part gets its share of the time. Cues never
overlap, and each lasts at least a millisecond.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from gateway.speech.encode.render import SpokenWord
from gateway.speech.text.graphemes import cut_before

LINE = 42
LINES = 2
"""The columns of a line, and the most lines of a cue."""

_SENTENCE_ENDS = ".!?…。！？।؟"
_CLAUSE_ENDS = ",;:–—、，；："


class Cue(msgspec.Struct, frozen=True, omit_defaults=True):
    """A cue: text that is shown from `start_ms` to `end_ms`; `speaker` may be empty."""

    start_ms: int
    end_ms: int
    text: str
    speaker: str = ""


def split(cues: Iterable[Cue], words: Iterable[SpokenWord] = ()) -> tuple[Cue, ...]:
    """Split cues to the size of the screen; the lines of a cue are separated by a newline. Short cues stay as they are.

    Args:
        cues: in the order of their times, of any length.
        words: their word times, in order; a cue whose words they are is split at these times.
    """
    found: list[Cue] = []
    free = 0  # end of the last cue, in ms
    spoken = deque(words)
    for cue in cues:
        parts = list(_parts(cue.text))
        mine = []
        while spoken and spoken[0].start_ms < cue.end_ms:
            mine.append(spoken.popleft())
        times = _shares(cue, parts) if len(parts) == 1 else _spoken(cue, parts, mine) or _shares(cue, parts)
        for part, (start, end) in zip(parts, times, strict=True):
            start = max(start, free)
            free = max(end, start + 1)
            found.append(Cue(start, free, "\n".join(part), cue.speaker))
    return tuple(found)


def _shares(cue: Cue, parts: Sequence[tuple[str, ...]]) -> list[tuple[int, int]]:
    """Return times of a cue's parts, by their widths."""
    ends = list(itertools.accumulate(sum(map(width, part)) for part in parts))
    length, total = cue.end_ms - cue.start_ms, ends[-1] or 1
    return [
        (cue.start_ms + length * start // total, cue.start_ms + length * end // total)
        for start, end in itertools.pairwise((0, *ends))
    ]


def _spoken(cue: Cue, parts: Sequence[tuple[str, ...]], words: Sequence[SpokenWord]) -> list[tuple[int, int]] | None:
    """Return times of a cue's parts, from its word times; None if these are other words, such as spelled numbers."""
    owners = [word for word in words for char in word.word if not char.isspace()]  # of each character that is shown
    if "".join(cue.text.split()) != "".join("".join(word.word.split()) for word in words):
        return None
    ends = list(itertools.accumulate(sum(not char.isspace() for line in part for char in line) for part in parts))
    times = [(owners[start].start_ms, owners[end - 1].end_ms) for start, end in itertools.pairwise((0, *ends))]
    return [(cue.start_ms, times[0][1]), *times[1:-1], (times[-1][0], cue.end_ms)]


def srt(cues: Iterable[Cue], words: Iterable[SpokenWord] = ()) -> str:
    """Write the cues, split, as a SubRip file."""
    named = (Cue(c.start_ms, c.end_ms, f"{c.speaker}: {c.text}") if c.speaker else c for c in cues)
    parts = []
    for number, cue in enumerate(split(named, words), 1):
        # SubRip has no escapes, and an arrow in the text would be read as times.
        shown = cue.text.replace("-->", "→")
        parts.append(f"{number}\n{_time(cue.start_ms, ',')} --> {_time(cue.end_ms, ',')}\n{shown}\n")
    return "\n".join(parts)


def vtt(cues: Iterable[Cue], words: Iterable[SpokenWord] = ()) -> str:
    """Write the cues, split, as a WebVTT file (W3C, 2019); speakers are voice spans."""
    parts = ["WEBVTT\n"]
    for cue in split(cues, words):
        shown = _escaped(cue.text)
        if cue.speaker:
            shown = f"<v {_escaped(' '.join(cue.speaker.split()))}>{shown}"
        parts.append(f"{_time(cue.start_ms, '.')} --> {_time(cue.end_ms, '.')}\n{shown}\n")
    return "\n".join(parts)


def width(text: str) -> int:
    """Return the columns a text takes; wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


class _Word(msgspec.Struct, frozen=True):
    """A word, or a piece of a word that follows the last piece without a space (`glued`)."""

    text: str
    glued: bool = False


def _parts(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the lines of each cue of a chunk."""
    lines = list(_lines(_words(text)))
    while lines:
        take = min(LINES, len(lines))
        if len(lines) > LINES and lines[0][-1].text[-1] in _SENTENCE_ENDS:
            take = 1
        yield _balanced(lines[:take])
        lines = lines[take:]


def _words(text: str) -> Iterator[_Word]:
    """Yield words; one wider than a line is cut between characters, as in scripts without spaces."""
    for word in text.split():
        glued = False
        while width(word) > LINE:
            cut = _cut(word)
            yield _Word(word[:cut], glued)
            word, glued = word[cut:], True
        yield _Word(word, glued)


def _cut(word: str) -> int:
    """Return where to cut a word wider than a line: after a mark in the second half of the line, else at its end."""
    columns = 0
    end = len(word)
    for at, char in enumerate(word):
        columns += width(char)
        if columns > LINE:
            end = at
            break
    for at in range(end - 1, end // 2, -1):
        if word[at] in _SENTENCE_ENDS + _CLAUSE_ENDS:
            return at + 1
    return max(1, cut_before(word, end, 0))


def _lines(words: Iterator[_Word]) -> Iterator[list[_Word]]:
    line: list[_Word] = []
    columns = 0
    for word in words:
        needed = width(word.text) + (0 if word.glued else 1)
        if line and columns + needed > LINE:
            yield line
            line, columns = [], 0
        line.append(word)
        columns += needed if len(line) > 1 else width(word.text)
    if line:
        yield line


def _balanced(lines: Sequence[list[_Word]]) -> tuple[str, ...]:
    """Distribute the words over the same number of lines, with widths as equal as possible."""
    words = [word for line in lines for word in line]
    if len(lines) < LINES:
        return (_joined(words),)
    splits = [(_joined(words[:at]), _joined(words[at:])) for at in range(1, len(words))]
    return min(splits, key=lambda pair: max(map(width, pair)))


def _joined(words: Sequence[_Word]) -> str:
    return "".join(word.text if n == 0 or word.glued else f" {word.text}" for n, word in enumerate(words))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{ms:03}"

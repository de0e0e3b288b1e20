"""Joins spoken lines into one file, with chapters and subtitles beside it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import soundfile  # type: ignore[import-untyped]

from gateway.cli.script.id3 import write_chapters
from gateway.cli.script.lines import ScriptLine
from gateway.cli.script.manifest import SpokenLine
from gateway.errors import BadRequest
from gateway.speech.encode import check_size, open_encoder
from gateway.speech.request import AudioFormat
from gateway.speech.subtitles import Cue, srt, vtt
from gateway.speech.text.graphemes import cut_before

_BLOCK = 1 << 16
_TITLE = 60
_ENDS_LINE = ("Cc", "Zl", "Zp")


class Chapter(msgspec.Struct, frozen=True):
    """A chapter of the joined file: its times and title."""

    start_ms: int
    end_ms: int
    title: str


class Joined(msgspec.Struct, frozen=True):
    """The result of a join: duration, chapters, and the files written beside the audio."""

    duration_ms: int
    chapters: tuple[Chapter, ...]
    sidecars: tuple[Path, ...]


def join(
    folder: Path, spoken: Sequence[tuple[ScriptLine, SpokenLine]], target: Path, form: AudioFormat, gap_ms: int
) -> Joined:
    """Write the lines one after the other into one file.

    An MP3 also gets the chapters in its tag. Beside `show.mp3` are written `show.chapters.json` (Podcasting 2.0),
    `show.cue`, `show.ffmetadata`, `show.srt` and `show.vtt`.

    Args:
        gap_ms: silence between two lines.

    Raises:
        BadRequest: two lines have different sample rates.
        InvalidInput: the audio is too long for the format.
    """
    rates = {soundfile.info(folder / one.file).samplerate for _, one in spoken}
    if len(rates) > 1:
        raise BadRequest(f"the lines have different sample rates ({', '.join(map(str, sorted(rates)))} Hz); to join "
                         "them, speak all of them with one backend")  # fmt: skip
    (rate,) = rates
    gap = np.zeros(round(gap_ms * rate / 1000), np.int16)
    check_size(form, sum(soundfile.info(folder / one.file).frames + gap.size for _, one in spoken))
    part = target.with_name(f".{target.name}.part")
    encoder = open_encoder(form, part, rate)
    at = 0
    starts = []
    cues = []
    for number, (line, one) in enumerate(spoken):
        if number:
            encoder.write(gap)
            at += gap.size
        start_ms = round(at * 1000 / rate)
        starts.append(start_ms)
        cues += [
            Cue(start_ms + chunk.start_ms, start_ms + chunk.end_ms, chunk.text, line.speaker) for chunk in one.chunks
        ]
        with soundfile.SoundFile(folder / one.file) as file:
            for block in file.blocks(_BLOCK, dtype="int16"):
                encoder.write(block)
                at += len(block)
    encoder.finish()
    end_ms = round(at * 1000 / rate)
    chapters = _chapters([line for line, _ in spoken], starts, end_ms)
    if form == "mp3":
        bare, part = part, target.with_name(f".{target.name}.tagged")
        write_chapters(bare, part, [(chapter.start_ms, chapter.end_ms, chapter.title) for chapter in chapters])
        bare.unlink()
    part.replace(target)
    return Joined(end_ms, chapters, _write_sidecars(target, chapters, cues))


def _chapters(lines: Sequence[ScriptLine], starts: Sequence[int], end_ms: int) -> tuple[Chapter, ...]:
    """Begin a chapter at each line with a `chapter`; at every line if the script has none."""
    if any(line.chapter for line in lines):
        begins = [(start, _one_line(line.chapter)) for line, start in zip(lines, starts, strict=True) if line.chapter]
        if begins[0][0] > 0:
            begins.insert(0, (0, _title(lines[0])))
        begins = [one for n, one in enumerate(begins) if n == 0 or one[1] != begins[n - 1][1]]
    else:
        begins = [(start, _title(line)) for line, start in zip(lines, starts, strict=True)]
    ends = [start for start, _ in begins[1:]] + [end_ms]
    return tuple(Chapter(start, end, title) for (start, title), end in zip(begins, ends, strict=True))


def _title(line: ScriptLine) -> str:
    words = _one_line(line.text)
    if len(words) > _TITLE:
        space = words.rfind(" ", 0, _TITLE)
        words = words[: space if space > 0 else cut_before(words, _TITLE, 0)] + "…"
    return f"{_one_line(line.speaker)}: {words}" if line.speaker else words


def _one_line(words: str) -> str:
    """Return the words on one line, for a title: white space, line ends and control characters become a space."""
    return " ".join("".join(" " if unicodedata.category(char) in _ENDS_LINE else char for char in words).split())


def _write_sidecars(target: Path, chapters: Sequence[Chapter], cues: Sequence[Cue]) -> tuple[Path, ...]:
    written = {
        ".chapters.json": _podcasting(chapters),
        ".cue": _cue_sheet(target, chapters),
        ".ffmetadata": _ffmetadata(chapters),
        ".srt": srt(cues),
        ".vtt": vtt(cues),
    }
    paths = []
    for ending, words in written.items():
        path = target.with_suffix(ending)
        path.write_text(words, encoding="utf-8")
        paths.append(path)
    return tuple(paths)


def _podcasting(chapters: Sequence[Chapter]) -> str:
    """Write JSON chapters 1.2 of the Podcasting 2.0 namespace; times in seconds."""
    listed = [{"startTime": c.start_ms / 1000, "endTime": c.end_ms / 1000, "title": c.title} for c in chapters]
    return msgspec.json.format(msgspec.json.encode({"version": "1.2.0", "chapters": listed}), indent=2).decode() + "\n"


def _cue_sheet(target: Path, chapters: Sequence[Chapter]) -> str:
    """Write a cue sheet; times in minutes, seconds and frames of 1/75 s. The format cannot hold a double quote."""
    kind = "MP3" if target.suffix.lower() == ".mp3" else "WAVE"
    parts = [f'FILE "{_quoted(target.name)}" {kind}\n']
    for number, chapter in enumerate(chapters, 1):
        frames = round(chapter.start_ms * 75 / 1000)
        at = f"{frames // 4500:02}:{frames // 75 % 60:02}:{frames % 75:02}"
        parts.append(f'  TRACK {number:02} AUDIO\n    TITLE "{_quoted(chapter.title)}"\n    INDEX 01 {at}\n')
    return "".join(parts)


def _quoted(words: str) -> str:
    return _one_line(words).replace('"', "'")


def _ffmetadata(chapters: Sequence[Chapter]) -> str:
    """Write metadata for ffmpeg: `ffmpeg -i show.mp3 -i show.ffmetadata -map_metadata 1 -codec copy out.mp3`."""
    parts = [";FFMETADATA1\n"]
    for chapter in chapters:
        title = "".join(f"\\{mark}" if mark in "=;#\\\n" else mark for mark in chapter.title)
        parts.append(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={chapter.start_ms}\nEND={chapter.end_ms}\ntitle={title}\n")
    return "".join(parts)

"""Subtitles from chunk times: SubRip and WebVTT."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Cue(msgspec.Struct, frozen=True):
    """Words on the screen from `start_ms` to `end_ms`; `speaker` may be empty."""

    start_ms: int
    end_ms: int
    text: str
    speaker: str = ""


def srt(cues: Iterable[Cue]) -> str:
    """A SubRip file."""
    parts = []
    for number, cue in enumerate(cues, 1):
        words = _one_paragraph(f"{cue.speaker}: {cue.text}" if cue.speaker else cue.text)
        parts.append(f"{number}\n{_time(cue.start_ms, ',')} --> {_time(cue.end_ms, ',')}\n{words}\n")
    return "\n".join(parts)


def vtt(cues: Iterable[Cue]) -> str:
    """A WebVTT file (W3C, 2019); speakers are voice spans."""
    parts = ["WEBVTT\n"]
    for cue in cues:
        words = _escaped(_one_paragraph(cue.text))
        if cue.speaker:
            words = f"<v {_escaped(' '.join(cue.speaker.split()))}>{words}"
        parts.append(f"{_time(cue.start_ms, '.')} --> {_time(cue.end_ms, '.')}\n{words}\n")
    return "\n".join(parts)


def _one_paragraph(text: str) -> str:
    """A blank line would end the cue."""
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _time(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{ms:03}"

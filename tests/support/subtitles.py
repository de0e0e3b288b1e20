"""Strict readers of SubRip and WebVTT; every player can read what they accept."""

from __future__ import annotations

import html
import itertools
import re
from typing import NamedTuple

_SRT_TIMES = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d),(\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d),(\d{3})").fullmatch
_VTT_TIMES = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})").fullmatch
_VTT_TEXT = re.compile(r"(?:<v [^<>&\n]+>)?(?:[^<>&]|&(?:amp|lt|gt);)*").fullmatch


class Read(NamedTuple):
    start_ms: int
    end_ms: int
    lines: list[str]


def read_srt(file: str) -> list[Read]:
    """Read blocks numbered from 1, each with times and lines; blank lines are allowed between blocks only."""
    assert file == "" or file.endswith("\n")
    found = []
    for number, block in enumerate(file[:-1].split("\n\n") if file else [], 1):
        head, times, *lines = block.split("\n")
        assert head == str(number)
        found.append(_read(_SRT_TIMES(times), lines))
        assert all("-->" not in line for line in lines)
    return _in_order(found)


def read_vtt(file: str) -> list[Read]:
    """Read the header, then blocks of times and text; special characters must be escaped."""
    head, *blocks = file[:-1].split("\n\n")
    assert head == "WEBVTT" and file.endswith("\n")
    found = []
    for block in blocks:
        times, *lines = block.split("\n")
        assert _VTT_TEXT("\n".join(lines)), lines
        found.append(_read(_VTT_TIMES(times), [html.unescape(line) for line in lines]))
    return _in_order(found)


def _read(times: re.Match[str] | None, lines: list[str]) -> Read:
    assert times is not None and lines and all(line.strip() for line in lines)
    h1, m1, s1, ms1, h2, m2, s2, ms2 = map(int, times.groups())
    return Read(((h1 * 60 + m1) * 60 + s1) * 1000 + ms1, ((h2 * 60 + m2) * 60 + s2) * 1000 + ms2, lines)


def _in_order(found: list[Read]) -> list[Read]:
    for cue in found:
        assert cue.start_ms < cue.end_ms
    for cue, after in itertools.pairwise(found):
        assert cue.end_ms <= after.start_ms
    return found

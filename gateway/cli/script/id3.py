"""Chapters inside an MP3: an ID3v2.4 tag in front of the audio, which stays as it is.

Source: "ID3v2 Chapter Frame Addendum" 1.0 and "ID3 tag version 2.4.0 - Main Structure", id3.org.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

_NO_OFFSET = 0xFFFF_FFFF
"""Times count, not places in the file."""
_TOP_LEVEL_ORDERED = 3
_UTF_8 = b"\x03"
_MOST_LISTED = 255
"""A table of contents counts in one byte; chapters behind that are in the file all the same."""


def write_chapters(audio: Path, target: Path, chapters: Iterable[tuple[int, int, str]]) -> None:
    """Write `target`: the tag, then the audio.

    Args:
        audio: an MP3 without a tag.
        chapters: begin and end in ms, and title.
    """
    with audio.open("rb") as source, target.open("wb") as file:
        file.write(chapters_tag(chapters))
        shutil.copyfileobj(source, file)


def chapters_tag(chapters: Iterable[tuple[int, int, str]]) -> bytes:
    """The tag: a table of contents, and a frame for each chapter with its times and its title."""
    frames, ids = [], []
    for number, (start_ms, end_ms, title) in enumerate(chapters):
        ids.append(b"chp%d\0" % number)
        times = struct.pack(">IIII", start_ms, end_ms, _NO_OFFSET, _NO_OFFSET)
        frames.append(_frame(b"CHAP", ids[-1] + times + _frame(b"TIT2", _UTF_8 + title.encode())))
    listed = ids[:_MOST_LISTED]
    contents = b"toc\0" + bytes([_TOP_LEVEL_ORDERED, len(listed)]) + b"".join(listed)
    body = _frame(b"CTOC", contents) + b"".join(frames)
    return b"ID3\x04\x00\x00" + _synchsafe(len(body)) + body


def _frame(name: bytes, content: bytes) -> bytes:
    return name + _synchsafe(len(content)) + bytes(2) + content


def _synchsafe(size: int) -> bytes:
    """28 bits in four bytes whose highest bit is 0, so that no decoder takes them for the begin of a frame."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))

"""Chapters inside an MP3: writes an ID3v2.4 tag in front of the unchanged audio.

Source: "ID3v2 Chapter Frame Addendum" 1.0 and "ID3 tag version 2.4.0 - Main Structure", id3.org.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

_NO_OFFSET = 0xFFFF_FFFF
"""No byte offsets: players use the times."""
_TOP_LEVEL_ORDERED = 3
_UTF_8 = b"\x03"
_MOST_LISTED = 255
"""The count in a table of contents is one byte; later chapters are in the tag but not in the table."""


def write_chapters(audio: Path, target: Path, chapters: Iterable[tuple[int, int, str]]) -> None:
    """Write the tag and then the audio to `target`.

    Args:
        audio: an MP3 without a tag.
        chapters: start and end in ms, and title.
    """
    with audio.open("rb") as source, target.open("wb") as file:
        file.write(chapters_tag(chapters))
        shutil.copyfileobj(source, file)


def chapters_tag(chapters: Iterable[tuple[int, int, str]]) -> bytes:
    """Build the tag: a table of contents, and a frame with times and title for each chapter."""
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
    """Encode 28 bits in four bytes whose highest bit is 0, so that no decoder reads them as the start of a frame."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))

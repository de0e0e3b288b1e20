r"""Removes lone surrogates (`"\ud83d"`) from JSON: JavaScript sends them for half an emoji, and parsers refuse them.

The scan takes linear time and can run in slices. The parser of the standard library takes seconds for some bodies of
18 MB, and holds the interpreter's lock meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_HEX = rb"[0-9a-fA-F]"
_HIGH = rb"\\u[dD][89abAB]" + _HEX + rb"{2}"
_LOW = rb"\\u[dD][c-fC-F]" + _HEX + rb"{2}"
_LONE = re.compile(
    rb"\\u[dD](?:[89abAB]%(hex)b{2}(?!%(low)b)|[c-fC-F]%(hex)b{2}(?<!%(high)b%(low)b))"
    % {b"hex": _HEX, b"low": _LOW, b"high": _HIGH}
)
_IN_UTF8 = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_REST_OF_ESCAPES = re.compile(_HEX + rb"{0,4}(?:" + _LOW + rb")?")
_BACKSLASH, _STAND_IN = rb"\\", b"\0\0"  # valid JSON has no NUL


def without_lone_surrogates(json: bytes) -> bytes:
    """Return the JSON without lone surrogates, both escaped ones and those in UTF-8."""
    return b"".join(cut_in_slices(json, len(json)))


def cut_in_slices(json: bytes, slice_bytes: int) -> Iterator[bytes]:
    """Yield the JSON without lone surrogates slice by slice, so that the caller can do other work in between.

    Args:
        slice_bytes: about the size of a slice, at least 2.
    """
    begin = 0
    while begin < len(json):
        end = _end_of_slice(json, begin, begin + slice_bytes)
        # An escaped backslash may stand before "ud83d", so it is replaced first; the others begin an escape.
        seen = _IN_UTF8.sub(b"", json[begin:end]).replace(_BACKSLASH, _STAND_IN)
        yield _LONE.sub(b"", seen).replace(_STAND_IN, _BACKSLASH)
        begin = end


def _end_of_slice(json: bytes, begin: int, end: int) -> int:
    """Return the end of a slice near `end` that is not inside an escape or a pair of escapes."""
    if end >= len(json):
        return len(json)
    piece = json[begin:end]
    if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
        end -= 1
    found = _REST_OF_ESCAPES.match(json, end)
    assert found is not None  # the pattern also matches an empty string
    return found.end()

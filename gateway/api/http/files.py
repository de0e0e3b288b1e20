"""Answer with a file, whole or a range of it, with an ETag so that clients can keep it."""

from __future__ import annotations

import re
from typing import Any

from litestar import Request, Response
from litestar.response import Stream

from gateway.api.http.surface import error_response
from storage.files.audio import StoredAudio

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})").fullmatch


class Unsatisfiable(Exception):
    """The requested range lies outside of the file."""


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first and last byte of a Range header (RFC 9110, 14.2), or None for the whole file.

    Several ranges, other units and malformed headers give the whole file, as the RFC allows.

    Raises:
        Unsatisfiable: no byte of the file is in the range.
    """
    found = _RANGE(header.strip()) if header else None
    if found is None or found.group(0) == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        length = min(int(last), size)
        if length == 0:
            raise Unsatisfiable
        return size - length, size - 1
    start, end = int(first), min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, end


def file_response(
    request: Request[Any, Any, Any], file: StoredAudio, mimetype: str, cache_control: str
) -> Response[Any]:
    """Answer with a file: 200, 206 for a Range, 304 if the caller has it already, 416 for a Range outside of it.

    Its hash is its ETag.
    """
    tag, size = f'"{file.hash}"', file.size_bytes
    headers = {
        "accept-ranges": "bytes",
        "cache-control": cache_control,
        "content-type": mimetype,
        "etag": tag,
    }
    known = request.headers.get("if-none-match", "")
    if known.strip() == "*" or tag in [part.strip().removeprefix("W/") for part in known.split(",")]:
        return Response(b"", status_code=304, headers=headers)
    wanted = request.headers.get("range")
    if request.headers.get("if-range", tag) != tag:
        wanted = None
    try:
        part = byte_range(wanted, size)
    except Unsatisfiable:
        return error_response(416, f"the audio has {size} bytes", {"content-range": f"bytes */{size}"})
    first, last = part or (0, size - 1)
    if part is not None:
        headers["content-range"] = f"bytes {first}-{last}/{size}"
    headers["content-length"] = str(last - first + 1)
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(b"", status_code=status, headers=headers)
    return Stream(file.read(first, last), status_code=status, headers=headers)

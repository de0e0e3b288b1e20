"""Finished audio at its signed, expiring address."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any

from litestar import Request, Response, route
from litestar.enums import HttpMethod
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from gateway.api.errors import error_response
from gateway.api.openapi import OPEN, fails, succeeds
from gateway.api.security import Core

_READ_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=(\d*)-(\d*)").fullmatch


class Unsatisfiable(Exception):
    """The range asked for lies outside of the file."""


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header (RFC 9110, 14.2), or None for the whole file.

    Several ranges, other units and malformed ones are answered with the whole file, as the RFC allows.

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


async def read_range(path: Path, first: int, last: int) -> AsyncGenerator[bytes, None]:
    """The bytes from `first` to `last`, both included; reads in threads, a piece at a time."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        await asyncio.to_thread(file.seek, first)
        left = last - first + 1
        while left > 0:
            piece = await asyncio.to_thread(file.read, min(_READ_BYTES, left))
            if not piece:
                raise OSError(f"{path.name} ended {left} bytes early")
            left -= len(piece)
            yield piece
    finally:
        file.close()


@route(
    "/audio/{blob:str}",
    http_method=(HttpMethod.GET, HttpMethod.HEAD),
    operation_id=lambda handler, method, path: "audio" if method is HttpMethod.GET else "audioHead",
    security=OPEN,
    tags=["audio"],
    status_code=200,
    responses={
        **succeeds(bytes, words="The audio.", media_type="audio/*"),
        206: ResponseSpec(
            bytes, generate_examples=False, description="The part a Range asked for.", media_type="audio/*"
        ),
        304: ResponseSpec(None, generate_examples=False, description="The ETag is still the same."),
        **fails(
            {
                400: "The request itself is wrong.",
                403: "The signature is wrong or has expired.",
                404: "No such audio.",
                416: "The Range is outside.",
            }
        ),
    },
)
async def audio(
    request: Request[Any, Any, Any],
    gateway: Core,
    blob: FromPath[str],
    expires: Annotated[str, QueryParameter(description="When the address ends, as it was signed.")] = "",
    signature: Annotated[str, QueryParameter(description="The server's signature of the address.")] = "",
) -> Response[Any]:
    """Finished audio. The address comes from `output.audio_url`: it is signed, expires, and needs no key."""
    gateway.signer.verify(f"/audio/{blob}", expires, signature)
    blob_hash = blob.partition(".")[0]
    path, mimetype, size = await gateway.jobs.audio(blob_hash)
    tag = f'"{blob_hash}"'
    headers = {
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=86400, immutable",
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
    return Stream(read_range(path, first, last), status_code=status, headers=headers)

"""Sends requests as bytes on plain sockets, for requests that no HTTP client sends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from support.running import KEY, Caller

GUARD_S = 60.0
BODY = b'{"input": {"text": "Known."}}'
KEYED = f"Authorization: Bearer {KEY}".encode()


@asynccontextmanager
async def connected(
    caller: Caller, receives: int | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection; the system buffers `receives` bytes that are not read."""
    where = urlsplit(str(caller.http.base_url))
    sock = socket.socket()
    if receives is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (where.hostname, where.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096 if receives else 2**22)
    try:
        async with asyncio.timeout(GUARD_S):
            yield reader, writer
    finally:
        writer.close()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    """Return status, headers and JSON of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in head.split("\r\n")[1:]) if n}
    return int(head.split()[1]), headers, json.loads(await reader.readexactly(int(headers["content-length"])))


async def sent(caller: Caller, *pieces: bytes) -> tuple[int, Any]:
    """Send these pieces, each in its own packet; return status and JSON of the answer."""
    async with connected(caller) as (reader, writer):
        for n, piece in enumerate(pieces):
            if n:
                await asyncio.sleep(0.03)
            writer.write(piece)
        status, _, body = await answer_of(reader)
        return status, body


def ways(request: bytes) -> list[tuple[bytes, ...]]:
    """Return the request as one packet, which the fast lane may answer, and with its last byte in a second packet."""
    return [(request,), (request[:-1], request[-1:])]


def posted(*headers: bytes, path: bytes = b"/runsync", body: bytes = BODY) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (path, lines, len(body), body)


def in_chunks(body: bytes) -> bytes:
    """Return a body as one chunk and the last chunk, without trailers."""
    return b"%x\r\n%b\r\n0\r\n" % (len(body), body)


def chunked(trailers: bytes, *headers: bytes, path: bytes = b"/runsync", body: bytes = BODY) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    head = b"POST %b HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (path, lines)
    return head + in_chunks(body) + trailers + b"\r\n"


def asking(path: str, body: bytes = b"") -> bytes:
    head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: x\r\n".encode() + KEYED + b"\r\n"
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)

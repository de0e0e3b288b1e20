"""Polls `/stream`, and makes clients that read their answers slowly or not at all."""

from __future__ import annotations

import asyncio
import base64
import io
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import soundfile
from support.running import KEY, Caller


async def poll(caller: Caller, job_id: str, **params: Any) -> dict[str, Any]:
    answer = await caller.http.get(f"/v2/{caller.endpoint}/stream/{job_id}", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def drain(caller: Caller, job_id: str) -> tuple[list[dict[str, Any]], int]:
    """Return every item, and the number of polls that returned items while the job was running."""
    items, early = [], 0
    async with asyncio.timeout(60):
        while True:
            page = await poll(caller, job_id)
            assert page["status"] in ("IN_QUEUE", "IN_PROGRESS", "COMPLETED"), page
            items += [item["output"] for item in page["stream"]]
            early += bool(page["stream"]) and page["status"] == "IN_PROGRESS"
            if page["status"] == "COMPLETED" and not page["stream"]:
                return items, early


def joined(items: list[dict[str, Any]]) -> np.ndarray:
    parts = [soundfile.read(io.BytesIO(base64.b64decode(i["audio_base64"])), dtype="int16")[0] for i in items]
    return np.concatenate(parts)


@asynccontextmanager
async def asking(url: str, path: str) -> AsyncIterator[socket.socket]:
    """Send a GET on a connection with a small receive buffer; the connection is reset at the end."""
    where = urlsplit(url)
    head = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    with socket.socket() as asker:
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        asker.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(asker, (where.hostname, where.port))
        await loop.sock_sendall(asker, head.encode())
        yield asker

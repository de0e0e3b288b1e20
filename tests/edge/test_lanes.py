"""A request in one packet, which the fast lane may answer, and with its last byte late get the same answer."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from support.running import Caller
from support.sockets import BODY, KEYED, answer_of, connected, posted, ways

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPOKEN = json.dumps({"model": "tts-1", "input": "Known.", "response_format": "mp3"}).encode()
HOSTS = (
    b"a b", b'x"y', b"a/b", b"\xe9.example", b"a\tb", b"", b"a,b", b"a@b", b"a%41", b"[::1]", b"[::1", b"x:99999999",
    b"x:", b"-", b"a_b:80", b"a" * 300,
)  # fmt: skip
QUERIES = (
    b"wait=1000", b"wait=0001000", b"wait=000300000", b"wait=0", b"wait=+1000", b"wait=1e3", b"wait=1000.0",
    b"wait=1000&", b"wait=%31000", b"wait=300001", b"Wait=1000", b"wait=", b"wait", b"&", b"wait=1000&wait=1",
)  # fmt: skip
CODINGS = (
    (b"gzip",), (b"identity",), (b"identity, gzip",), (b"identity", b"gzip"), (b"gzip", b"identity"), (b"",), (b"br",),
    (b"IDENTITY",),
)  # fmt: skip


def seen(status: int, headers: dict[str, str], body: Any) -> tuple[int, dict[str, str], str]:
    """An answer without what differs between two of them."""
    kept = {name: value for name, value in headers.items() if name not in ("date", "x-request-id", "content-length")}
    return status, kept, re.sub(r'"(id|delayTime)": ("sync-[^"]*"|\d+)|request id \w+', "", json.dumps(body))


async def both(caller: Caller, request: bytes) -> list[tuple[int, dict[str, str], str]]:
    answers = []
    for way in ways(request):
        async with connected(caller) as (reader, writer):
            for piece in way:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.03)
            answers.append(seen(*await answer_of(reader)))
    return answers


@pytest.mark.parametrize("host", HOSTS)
async def test_odd_hosts(caller: Caller, host: bytes) -> None:
    fast, ordinary = await both(caller, posted(b"Host: " + host, KEYED))
    assert fast == ordinary


@pytest.mark.parametrize("query", QUERIES)
async def test_odd_queries(caller: Caller, query: bytes) -> None:
    fast, ordinary = await both(caller, posted(b"Host: x", KEYED, path=b"/runsync?" + query))
    assert fast == ordinary


@pytest.mark.parametrize("codings", CODINGS)
async def test_odd_content_encodings(caller: Caller, codings: tuple[bytes, ...]) -> None:
    headers = [b"Content-Encoding: " + coding for coding in codings]
    fast, ordinary = await both(caller, posted(b"Host: x", KEYED, *headers))
    assert fast == ordinary


@pytest.mark.parametrize(
    "headers",
    [
        (b"Host: x", b"Authorization: Bearer wrong", KEYED),
        (b"Host: x", KEYED, b"Authorization: Bearer wrong"),
        (b"Host: x", KEYED, b"Expect: 100-continue-not"),
        (b"Host: x", KEYED, b"Connection: close, Upgrade"),
        (KEYED,),
    ],
)
@pytest.mark.parametrize("body", [BODY, b"\xef\xbb\xbf" + BODY, b'{"input": {"text": "Known."}, "x": "\\ud83d"}'])
async def test_odd_headers(caller: Caller, headers: tuple[bytes, ...], body: bytes) -> None:
    fast, ordinary = await both(caller, posted(*headers, body=body))
    assert fast == ordinary


@pytest.mark.parametrize("host", [b"a b", b"x", b"\xe9.example"])
@pytest.mark.parametrize("coding", [b"X: y", b"Content-Encoding: gzip"])
async def test_odd_requests_for_speech(caller: Caller, host: bytes, coding: bytes) -> None:
    statuses = []
    for way in ways(posted(b"Host: " + host, KEYED, coding, path=b"/v1/audio/speech", body=SPOKEN)):
        async with connected(caller) as (reader, writer):
            for piece in way:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.03)
            statuses.append((await reader.readline()).split()[1])
    assert statuses[0] == statuses[1]
    assert statuses[0] == (b"200" if (host, coding) == (b"x", b"X: y") else b"400")

"""Request framing is checked: trailers, Host, Upgrade."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from support.running import Caller
from support.sockets import BODY, KEYED, answer_of, chunked, connected, in_chunks, posted, sent, ways

from gateway.api.http.connection import Connection

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOST = Connection.MAX_HEAD_BYTES


# -- trailers


@pytest.mark.parametrize(
    ("begun", "unit"),
    [
        (in_chunks(BODY), b"a: b\r\n" * 1000),
        (in_chunks(BODY), b"x" * 10_000),
        (in_chunks(BODY) + b"a: ", b"y" * 10_000),
        (b"0;", b"a;b=" * 2000),
        (b"0", b"0" * 10_000),
    ],
    ids=["many", "a name without end", "a value without end", "a chunk's extension", "a chunk's size"],
)
@pytest.mark.parametrize("path", [b"/anything", b"/v2/x/run"])
@pytest.mark.parametrize("key", [b"", KEYED + b"\r\n"])
async def test_what_stands_around_a_body_is_bounded_as_a_head_is(
    caller: Caller, begun: bytes, unit: bytes, path: bytes, key: bytes
) -> None:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (path, key)
    async with connected(caller) as (reader, writer):
        writer.write(head + begun)
        heard = asyncio.create_task(reader.read())
        put = 0
        with contextlib.suppress(ConnectionError):
            while not heard.done():
                writer.write(unit)
                await writer.drain()
                put += len(unit)
                await asyncio.sleep(0.001)
                assert put < 40 * MOST, "it reads on and on"
        with contextlib.suppress(ConnectionError):
            answer = await heard
            assert answer[9:12] in (b"400", b"401", b"404", b"431")
            assert b" 431 " not in answer or b"65536 bytes" in answer


@pytest.mark.parametrize("path", [b"/runsync", b"/run"])
@pytest.mark.parametrize("way", [0, 1])
async def test_a_key_behind_the_body_is_none(caller: Caller, path: bytes, way: int) -> None:
    request = chunked(KEYED + b"\r\n", b"Host: x", path=path)
    status, answer = await sent(caller, *ways(request)[way])
    assert (status, answer["error"]) == (401, "Unauthorized")


@pytest.mark.parametrize("text", ["Known.", "Not known yet."])
@pytest.mark.parametrize("way", [0, 1])
async def test_trailers_change_nothing_of_a_good_request(caller: Caller, text: str, way: int) -> None:
    raw = json.dumps({"input": {"text": text}}).encode()
    trailers = (
        b"Authorization: Bearer wrong\r\nHost: evil.example\r\nContent-Encoding: gzip\r\nExpect: 100-continue\r\n"
        b"X-Request-ID: theirs\r\nIdempotency-Key: %d\r\n" % way
    )
    request = chunked(trailers, b"Host: good.example", KEYED, body=raw)
    async with connected(caller) as (reader, writer):
        for _ in range(2):  # and the connection goes on
            for piece in ways(request)[way]:
                writer.write(piece)
                await asyncio.sleep(0.03)
            status, headers, answer = await answer_of(reader)
            assert (status, answer["status"]) == (200, "COMPLETED")
            assert answer["output"]["audio_url"].startswith("http://good.example/")
            assert headers["x-request-id"] != "theirs"


async def test_a_long_chunked_body_in_tiny_chunks_is_read(caller: Caller) -> None:
    raw = json.dumps({"input": {"text": "a" * 40_000, "speed": 9}}).encode()
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in raw) + b"0\r\n\r\n"
    assert len(body) > 3 * MOST
    head = b"POST /runsync HTTP/1.1\r\nHost: x\r\n%b\r\nTransfer-Encoding: chunked\r\n\r\n" % KEYED
    status, answer = await sent(caller, head + body)
    assert (status, answer["status"]) == (200, "FAILED")


# -- Host


@pytest.mark.parametrize("hosts", [(b"Host: a", b"Host: b"), (b"Host: a", b"Host: a"), (b"Host: a", b"hOST: ")])
@pytest.mark.parametrize("path", [b"/runsync", b"/v1/audio/speech", b"/health/live"])
@pytest.mark.parametrize("way", [0, 1])
async def test_two_hosts_are_refused(caller: Caller, hosts: tuple[bytes, ...], path: bytes, way: int) -> None:
    status, answer = await sent(caller, *ways(posted(*hosts, KEYED, path=path))[way])
    error = answer["error"]
    assert status == 400 and "Host" in (error["message"] if path.startswith(b"/v1") else error)


async def test_nothing_behind_a_request_with_two_hosts_is_done(caller: Caller) -> None:
    before = (await caller.http.get("/requests")).json()
    async with connected(caller) as (reader, writer):
        behind = posted(b"Host: a", KEYED, path=b"/run", body=b'{"input": {"text": "Never said."}}')
        writer.write(posted(b"Host: a", b"Host: b") + behind)
        assert (await answer_of(reader))[0] == 400
        assert await reader.read() == b""
    assert (await caller.http.get("/requests")).json() == before


# -- Upgrade


UPGRADES = (
    (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
    (b"Upgrade: websocket", b"Connection: keep-alive, Upgrade"),
    (b"Connection: upgrade", b"Upgrade: TLS/1.0", b"Upgrade: h2c"),
)


@pytest.mark.parametrize("offered", UPGRADES, ids=["h2c", "websocket", "several"])
@pytest.mark.parametrize("text", ["Known.", "Known not yet."])
@pytest.mark.parametrize("cut", [None, "body", "last"])
async def test_an_upgrade_that_nobody_offers_is_ignored(
    caller: Caller, offered: tuple[bytes, ...], text: str, cut: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    raw = json.dumps({"input": {"text": text}}).encode()
    for request in (
        posted(b"Host: x", KEYED, *offered, body=raw),
        chunked(b"", b"Host: x", KEYED, *offered, body=raw),
    ):
        at = {None: None, "body": request.index(b"\r\n\r\n") + 4, "last": -1}[cut]
        async with connected(caller) as (reader, writer):
            for _ in range(2):  # and the connection goes on
                writer.write(request[:at])
                if at is not None:
                    await asyncio.sleep(0.03)
                    writer.write(request[at:])
                status, _, answer = await answer_of(reader)
                assert (status, answer["status"]) == (200, "COMPLETED")
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_offers_of_upgrades_may_be_pipelined(caller: Caller) -> None:
    request = posted(b"Host: x", KEYED, *UPGRADES[0])
    async with connected(caller) as (reader, writer):
        writer.write(request * 5)
        assert [(await answer_of(reader))[0] for _ in range(5)] == [200] * 5

"""Callers that send too much, too slowly, or no HTTP at all, on plain sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from support.running import KEY, Caller, settings_of
from support.served import site
from support.serving import serving

from gateway.api import build_app
from gateway.api.http.connection import Connection
from gateway.app import SURFACES, Gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

GUARD_S = 60.0
HEAD = f"Host: x\r\nAuthorization: Bearer {KEY}\r\n"
RUN = b'{"input": {"text": "Well formed."}}'


class Impatient(Connection):
    """The same rules in less time."""

    HEAD_S = 0.3
    GRACE_S = 0.3
    LOOK_S = 0.05


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=2**22)
    try:
        async with asyncio.timeout(GUARD_S):
            yield reader, writer
    finally:
        writer.close()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and JSON of the next answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in head.split("\r\n")[1:]) if n}
    assert headers["content-type"] == "application/json", head
    body = json.loads(await reader.readexactly(int(headers["content-length"])))
    return int(head.split()[1]), body


async def exchanged(url: str, pieces: Iterable[bytes]) -> tuple[int, dict[str, str]]:
    async with opened(url) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await answer_of(reader)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def impatient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    folder = tmp_path_factory.mktemp("impatient")
    gateway = Gateway(settings_of(folder, max_body_run_bytes=50_000, max_body_runsync_bytes=100_000))
    async with serving(build_app(gateway.port, SURFACES), Impatient) as url, httpx.AsyncClient(base_url=url) as http:
        http.headers["Authorization"] = f"Bearer {KEY}"
        yield Caller(gateway, http)


def url_of(caller: Caller) -> str:
    return str(caller.http.base_url)


@pytest.mark.parametrize("limit", [("run", 50_000), ("runsync", 100_000), ("v2/x/runsync", 100_000)])
async def test_a_body_above_the_limit_is_413_before_it_is_read(impatient: Caller, limit: tuple[str, int]) -> None:
    verb, most = limit
    head = f"POST /{verb} HTTP/1.1\r\n{HEAD}"
    status, body = await exchanged(url_of(impatient), [f"{head}Content-Length: {10**12}\r\n\r\n".encode()])
    assert status == 413 and "max size" in body["error"]
    # Without a length it is 413 as soon as the pieces are too many; nobody has sent the last one.
    piece = b"%x\r\n%s\r\n" % (10_000, b"a" * 10_000)
    pieces = [f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), *[piece] * (most // 10_000 + 1)]
    status, body = await exchanged(url_of(impatient), pieces)
    assert status == 413 and "max size" in body["error"]


async def test_a_chunked_body_is_read_in_pieces_of_any_size(impatient: Caller) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in RUN) + b"0\r\n\r\n"
    head = f"POST /run HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
    status, body = await exchanged(url_of(impatient), [(head + chunks)[n : n + 7] for n in range(0, 400, 7)])
    assert status == 200 and body["status"] == "IN_QUEUE"


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"GARBAGE\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"POST /run HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /run HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /run HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /run HTTP/1.1\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n",
        b"POST /run HTTP/1.1\r\n" + HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=range(13),
)
async def test_what_is_no_http_is_told_so_in_json(impatient: Caller, sent: bytes) -> None:
    status, body = await exchanged(url_of(impatient), [sent])
    assert status in (400, 401, 404, 405) and len(body["error"]) > 10


@pytest.mark.parametrize("target", ["http://a:b:c/x", "http://[::1/x", "http://a:99999999/x"])
@pytest.mark.parametrize("cut", [None, -2])
async def test_a_target_that_is_none_is_told_so_however_it_comes(
    impatient: Caller, target: str, cut: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    request = f"POST {target} HTTP/1.1\r\n{HEAD}Content-Length: {len(RUN)}\r\n\r\n".encode() + RUN
    async with opened(url_of(impatient)) as (reader, writer):
        writer.write(request[:cut])
        if cut is not None:
            await asyncio.sleep(0.1)
            writer.write(request[cut:])
        assert (await answer_of(reader))[0] == 400
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_what_is_no_http_behind_an_answer_is_told_so_too(impatient: Caller) -> None:
    async with opened(url_of(impatient)) as (reader, writer):
        writer.write(f"POST /run HTTP/1.1\r\n{HEAD}Content-Length: {len(RUN)}\r\n\r\n".encode() + RUN)
        assert (await answer_of(reader))[0] == 200
        writer.write(f"POST /run HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\nZZ\r\n".encode())
        assert (await answer_of(reader))[0] == 400


async def test_a_head_without_end_is_431(impatient: Caller) -> None:
    for begun in (b"GET /", b"GET / HTTP/1.1\r\nX-Long: ", f"POST /run HTTP/1.1\r\n{HEAD}X: ".encode()):
        async with opened(url_of(impatient)) as (reader, writer):
            writer.write(begun)
            answer = asyncio.create_task(answer_of(reader))
            sent = 0
            while not answer.done():
                writer.write(b"a" * 16_384)
                await writer.drain()
                sent += 16_384
                await asyncio.sleep(0.001)
                assert sent < 2_000_000, "it reads on and on"
            status, body = await answer
            assert status == 431 and "65536 bytes" in body["error"]


SPEECH = "POST /v1/audio/speech HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (f"{SPEECH}bad header\r\n\r\n", 400, "RFC 9112"),
        (f"{SPEECH}{HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "RFC 9112"),
        (f"{SPEECH}X: {'a' * 300_000}", 431, "65536 bytes"),
        ("GET /v1/models", 408, "within 0.3 seconds"),
        (f"{SPEECH}{HEAD}", 408, "within 0.3 seconds"),
        (f"{SPEECH}{HEAD}Content-Length: 5000\r\n\r\n{{", 408, "bytes per second"),
    ],
)
async def test_below_v1_what_the_connection_refuses_has_openais_form(
    impatient: Caller, sent: str, status: int, words: str
) -> None:
    refused, body = await exchanged(url_of(impatient), [sent.encode()])
    error: Any = body["error"]
    assert refused == status and words in error["message"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)


async def test_ten_thousand_headers_are_refused_or_read(impatient: Caller) -> None:
    many = "".join(f"X-{n}: {n}\r\n" for n in range(10_000))
    status, _ = await exchanged(url_of(impatient), [f"GET /health/live HTTP/1.1\r\n{HEAD}{many}\r\n".encode()])
    assert status in (200, 431)


@pytest.mark.parametrize("begun", ["", "GET /health/l", f"POST /run HTTP/1.1\r\n{HEAD}"])
async def test_a_head_that_never_ends_is_408_after_a_while(impatient: Caller, begun: str) -> None:
    status, body = await exchanged(url_of(impatient), [begun.encode()])
    assert status == 408 and "within 0.3 seconds" in body["error"]


@pytest.mark.parametrize("verb", ["run", "runsync", "voices", "status-sync/x"])
async def test_a_body_that_trickles_is_408_and_no_defect(impatient: Caller, verb: str) -> None:
    async with opened(url_of(impatient)) as (reader, writer):
        writer.write(f"POST /{verb} HTTP/1.1\r\n{HEAD}Content-Length: 5000\r\n\r\n".encode())
        answer = asyncio.create_task(answer_of(reader))
        while not answer.done():
            writer.write(b" ")
            await asyncio.sleep(0.02)
        status, body = await answer
        # Whoever needs no body may have answered before.
        assert (status, "bytes per second" in body["error"]) in ((408, True), (404, False))
        assert status == 408 or verb == "status-sync/x"
        # It hangs up; what was on its way by then makes that a reset.
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


async def test_a_caller_that_leaves_in_the_middle_of_its_body_is_no_defect(impatient: Caller) -> None:
    for verb in ("run", "runsync", "voices"):
        async with opened(url_of(impatient)) as (_, writer):
            writer.write(f"POST /{verb} HTTP/1.1\r\n{HEAD}Content-Length: 5000\r\n\r\nabc".encode())
            await writer.drain()
            await asyncio.sleep(0.05)
    async with asyncio.timeout(GUARD_S):
        while 'status="499",verb="run"' not in (counted := (await impatient.http.get("/metrics")).text):
            await asyncio.sleep(0.02)
    assert 'status="5' not in counted


async def test_who_waits_for_an_answer_may_wait_longer_than_a_body_may_take(impatient: Caller) -> None:
    job = await impatient.run("Slow.", options={"delay_s": 1.0})
    status, body = await exchanged(
        url_of(impatient),
        [f"POST /v2/tests/status-sync/{job} HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n{{}}".encode()],
    )
    assert (status, body["status"]) == (200, "COMPLETED")


async def test_pipelined_requests_are_answered_in_order(impatient: Caller) -> None:
    paths = ("/health/live", "/status/x", "/nothing")
    async with opened(url_of(impatient)) as (reader, writer):
        writer.write("".join(f"GET {path} HTTP/1.1\r\n{HEAD}\r\n" for path in paths).encode())
        assert [(await answer_of(reader))[0] for _ in paths] == [200, 404, 404]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc for the memory of a process")
async def test_a_server_keeps_its_memory_whatever_is_sent(tmp_path: Path) -> None:
    async with site(tmp_path, max_body_run_bytes=2_000_000) as started:
        served = await started.start()
        caller = served.caller

        async def batter(rounds: int) -> None:
            for n in range(rounds):
                long = "a" * 1_000_000 if n % 2 else "Wort für Wort, " * 60_000
                # Refused after it was planned: a megabyte spoken takes longer than this test may.
                job = await caller.run(long, options={"fail": True}, cache="off")
                await caller.until(job, "FAILED")
                await caller.post("runsync?wait=1000", {"input": {"text": "..." * 200_000}})
                await exchanged(served.url, [f"POST /run HTTP/1.1\r\n{HEAD}Content-Length: {10**9}\r\n\r\n".encode()])
                await caller.http.post("/run", content=b"[" * 1_000_000)
                await caller.http.post("/run", content=b'{"input":{"' + b"k" * 1_000_000 + b'":1}}')
                await caller.http.get(f"/v2/{'e' * 60}{n}/requests?{'x' * 20_000}")

        await batter(6)
        before = served.memory_mb()
        await batter(18)
        assert served.memory_mb() < before + 60, "it grows with what is sent"
        assert (await caller.say("It still speaks."))["status"] == "COMPLETED"
        assert "Traceback" not in served.log.read_text() and "unexpected error" not in served.log.read_text()
        await served.stop()

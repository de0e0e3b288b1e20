"""Receivers of webhooks that mean harm, or are broken: each is given up on, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.access import TurnedClock
from support.running import Caller, running

from gateway.access.principal import SCOPES
from gateway.jobs.webhooks import deliveries as webhooks

TEXT = "A receiver waits for this."
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
BROKEN = b"HTTP/1.1 500 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Receiver:
    """Remembers what came in, and at which of its addresses; answers as it is told."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.calls = 0
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in head[1:]) if n}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.got.append((writer.get_extra_info("sockname")[0], headers, body))
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the gateway has hung up, as it should
        finally:
            writer.close()


@asynccontextmanager
async def receiving(answer: Answer) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer)
    server = await asyncio.start_server(receiver.handle, "0.0.0.0", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


def says(data: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return answer


def repeats(begin: bytes, again: bytes, pause_s: float = 0.01) -> Answer:
    """An answer without end."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while not writer.is_closing():
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return answer


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.05,))
    monkeypatch.setattr(webhooks, "POLL_S", 0.05)
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 1.0)


async def given_up(caller: Caller, job_id: str) -> dict[str, Any]:
    """The webhook of a job, once it is no longer tried."""
    async with asyncio.timeout(60):
        while True:
            # It is owed once the job has ended.
            for webhook in (await caller.http.get(f"/v2/tests/webhooks/{job_id}")).json()["webhooks"]:
                if webhook["status"] != "PENDING":
                    return dict(webhook)
            await asyncio.sleep(0.02)


HARMFUL: dict[str, Answer] = {
    "says nothing": hangs,
    "hangs up": says(b""),
    "is no HTTP": says(b"\x00\xff\x16\x03 nothing of the kind\r\n\r\n"),
    "sends its head byte by byte": repeats(b"HTTP/1.1 200 OK\r\n", b"a", 0.02),
    "sends a head without end": repeats(b"HTTP/1.1 200 OK\r\nx: ", b"a" * 65_536),
    "says continue for ever": repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "answers with a status of its own": says(b"HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n"),
    "redirects to this machine": says(b"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"),
    "redirects to the cloud": says(b"HTTP/1.1 302 X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"),
    "is broken": says(BROKEN),
}


@pytest.mark.parametrize("name", HARMFUL)
async def test_a_harmful_receiver_is_given_up_on(tmp_path: Path, quick: None, name: str) -> None:
    async with (
        receiving(HARMFUL[name]) as bad,
        receiving(says(OK)) as good,
        running(tmp_path, webhook_allow=("127.0.0.1",)) as caller,
    ):
        job = await caller.run(TEXT, webhook=f"http://127.0.0.1:{bad.port}/")
        other = await caller.run(TEXT + " And another one.", webhook=f"http://127.0.0.1:{good.port}/")
        assert (await given_up(caller, other))["status"] == "DELIVERED"
        told = await given_up(caller, job)
        assert (told["status"], told["tries"], bad.calls) == ("FAILED", 2, 2)
        assert bad.got, "on a busy machine a try may run out of time before its body is there, but not both"
        assert 0 < len(told["error"]) <= 500


async def owed_to(caller: Caller, urls: list[str], key: str | None = None) -> None:
    """A job for each receiver."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    for url in urls:
        answer = await caller.post("run", {"input": {"text": TEXT}, "webhook": url}, headers=headers)
        assert answer.status_code == 200, answer.text


HANGING = {
    "one receiver": lambda port: [f"http://127.0.0.1:{port}/{n}" for n in range(40)],
    "twenty receivers": lambda port: [f"http://127.0.0.{n}:{port}/" for n in range(1, 21)],
}


@pytest.mark.parametrize("how", ["says nothing", "sends its head byte by byte"])
@pytest.mark.parametrize("many", HANGING)
async def test_nobody_waits_for_a_receiver_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, many: str
) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 300.0)
    async with (
        receiving(HARMFUL[how]) as bad,
        receiving(says(OK)) as good,
        running(tmp_path, webhook_allow=("127.0.0.0/8",)) as caller,
    ):
        await caller.say(TEXT)
        await owed_to(caller, HANGING[many](bad.port))
        async with asyncio.timeout(60):
            while len(bad.got) < (webhooks.PER_RECEIVER if many == "one receiver" else 20):
                await asyncio.sleep(0.02)
            job = await caller.run(TEXT, webhook=f"http://127.0.0.1:{good.port}/")
            assert (await given_up(caller, job))["status"] == "DELIVERED"
        told = (await caller.http.get("/v2/tests/webhooks?status=PENDING")).json()["webhooks"]
        assert len(told) == len(HANGING[many](0)), "the others wait for their answers still"


async def test_nobody_waits_for_another_tenants_receivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 300.0)
    async with (
        receiving(hangs) as bad,
        receiving(says(OK)) as good,
        running(tmp_path, webhook_allow=("127.0.0.0/8",)) as caller,
    ):
        await caller.say(TEXT)
        other = await caller.gateway.access.keys.create(tenant="other", scopes=SCOPES)
        await caller.gateway.access.refresh()
        urls = [f"http://127.0.0.{n}:{bad.port}/" for n in range(1, webhooks.AT_ONCE + 20)]
        await owed_to(caller, urls, other.secret)
        async with asyncio.timeout(60):
            while len(bad.got) < webhooks.AT_ONCE // 2:
                await asyncio.sleep(0.02)
            job = await caller.run(TEXT, webhook=f"http://127.0.0.1:{good.port}/")
            assert (await given_up(caller, job))["status"] == "DELIVERED"
        assert len(bad.got) == webhooks.AT_ONCE // 2


async def test_an_answer_without_end_is_not_read(tmp_path: Path, quick: None) -> None:
    endless = repeats(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"10000\r\n" + b"a" * 65_536 + b"\r\n")
    async with receiving(endless) as receiver, running(tmp_path, webhook_allow=("127.0.0.1",)) as caller:
        job = await caller.run(TEXT, webhook=f"http://127.0.0.1:{receiver.port}/")
        assert (await given_up(caller, job))["status"] == "DELIVERED"


ODD = (
    "http://" + "a" * 64 + ".example/", "http://a..example/", "http://.example/", "http://xn--a.example/",
    "http://example.invalid/\x00", "http://example.invalid:0/", "http://\u2460\uff0e\u2461/", "http://a_b.invalid/ x y",
    "http://" + "a." * 130 + "example/", "http://%31%32%37.0.0.1/", "http://0x7f000001/", "http://2130706433/",
    "http://127.1/", "http://[::ffff:127.0.0.1]/", "http://localhost./", "https://127.0.0.1.invalid/",
    "http://\u202e.example/", "http://[fe80::1%25lo]/", "http://1.2.3.4.5/", "http://example.invalid/\ud800",
)  # fmt: skip


async def test_an_address_that_leads_nowhere_is_refused_or_given_up_on(
    tmp_path: Path, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with running(tmp_path) as caller:
        owed = {}
        for url in ODD:
            body = json.dumps({"input": {"text": TEXT}, "webhook": url})
            answer = await caller.http.post("/v2/tests/run", content=body)
            assert answer.status_code in (200, 400), url
            if answer.status_code == 200:
                owed[url] = answer.json()["id"]
            else:
                assert "webhook" in answer.json()["error"]
        assert owed
        for url, job in owed.items():
            told = await given_up(caller, job)
            assert told["status"] == "FAILED" and told["error"], url
    assert not [record for record in caplog.records if "crashed" in record.getMessage()]


class Resolver:
    """Stands in for the name server behind `socket.getaddrinfo`: names of ours, everything else as it was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: dict[str, Iterator[list[str]]]) -> None:
        self._answers = answers
        self.asked: list[str] = []
        self._real = socket.getaddrinfo
        self.slow = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)

    def _resolve(self, host: Any, port: Any, *more: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in self._answers:
            return self._real(host, port, *more, **named)
        self.asked.append(name)
        if name.startswith("slow"):
            self.slow.wait(60)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port))) for address in next(self._answers[name])
        ]


async def test_a_name_that_turns_to_a_private_address_is_not_followed(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 127.0.0.2 stands for an address of the net: it is allowed, and 127.0.0.1 is not.
    turning = itertools.chain([["127.0.0.2"]], itertools.repeat(["127.0.0.1"]))
    both = itertools.repeat(["127.0.0.1", "127.0.0.2"])
    resolver = Resolver(monkeypatch, {"turning.example": turning, "both.example": both})
    async with receiving(says(BROKEN)) as receiver, running(tmp_path, webhook_allow=("127.0.0.2",)) as caller:
        told = await given_up(caller, await caller.run(TEXT, webhook=f"http://turning.example:{receiver.port}/"))
        assert "private" in told["error"]
        assert [where for where, _, _ in receiver.got] == ["127.0.0.2"]
        assert resolver.asked == ["turning.example"] * 2, "what was checked is what is connected to"
        await given_up(caller, await caller.run(TEXT, webhook=f"http://both.example:{receiver.port}/"))
        assert {where for where, _, _ in receiver.got} == {"127.0.0.2"}


async def test_a_name_server_that_hangs_holds_up_nobody(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {f"slow{n}.example": itertools.repeat(["127.0.0.2"]) for n in range(40)}
    resolver = Resolver(monkeypatch, names)
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 20.0)
    try:
        async with running(tmp_path, webhook_allow=("127.0.0.2",)) as caller:
            for name in names:
                await caller.run(TEXT, webhook=f"http://{name}:1/")
            async with asyncio.timeout(30):
                while len(resolver.asked) < 2:
                    await asyncio.sleep(0.02)
                # Long texts are read and planned in threads, files are written in threads.
                long = "All threads are free for this. " * 8_000
                job = await caller.run(long, options={"fail": True})
                assert (await caller.until(job, within_s=30))["status"] == "FAILED"
                assert (await caller.say("And for this."))["status"] == "COMPLETED"
            resolver.slow.set()
    finally:
        resolver.slow.set()


class WallTurned(TurnedClock):
    """A test turns the wall's clock only: what takes how long is measured with the other one."""

    def monotonic(self) -> float:
        return time.monotonic()


async def test_a_receiver_that_is_broken_for_an_hour_gets_it_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "POLL_S", 0.02)
    clock = WallTurned()
    began = clock.wall_ms
    tried: list[int] = []
    before: Any = None

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tried.append((clock.wall_ms - began) // 1000)
        writer.write(OK if tried[-1] > 3600 else BROKEN)
        await writer.drain()

    async with receiving(answer) as receiver, running(tmp_path, clock, webhook_allow=("127.0.0.1",)) as caller:
        job = await caller.run(TEXT, webhook=f"http://127.0.0.1:{receiver.port}/")
        async with asyncio.timeout(60):
            while True:
                told = (await caller.http.get(f"/v2/tests/webhooks/{job}")).json()
                (webhook,) = told["webhooks"] or [{}]
                if webhook.get("status") == "DELIVERED":
                    break
                over = bool(webhook) and webhook["tries"] == len(told["tries"]) == len(tried)
                if over and told == before:  # read twice: an answer is two looks into the database
                    clock.wall_ms = max(clock.wall_ms, webhook["due_ms"])
                before = told
                await asyncio.sleep(0.02)
    assert tried == [0, *itertools.accumulate(webhooks.PAUSES_S[:7])]
    bodies = [json.loads(body) for _, _, body in receiver.got]
    for body in bodies:
        assert "signature=" in body["output"].pop("audio_url")  # each try's can be fetched as long as the first's
        assert body == bodies[0]
    signed = [headers["webhook-signature"] for _, headers, _ in receiver.got]
    assert len(set(signed)) == len(tried), "each try is signed at its own time"

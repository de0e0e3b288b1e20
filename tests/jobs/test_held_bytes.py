"""A server's memory stays within its settings and agrees with its metrics."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook
from support.clocks import JumpyClock
from support.running import Caller, running
from support.streaming import poll

from gateway.jobs.listen import stream
from gateway.jobs.listen.stream_items import StreamOutput, items_of
from gateway.jobs.webhooks.budget import Budget, NoRoom
from gateway.jobs.webhooks.signature import webhook_secret
from gateway.settings.model import CacheSettings
from gateway.speech.speak.reader import ChunkAudio

HOT_BYTES = 8_000_000
UNTOLD_BYTES = 1_500_000
"""Growth allowed to the rest of the server and its client: connections, compiled statements, modules."""


OURS = [
    tracemalloc.Filter(True, pattern)
    for pattern in ("*/gateway/*", "*/storage/*", "*/base64.py", "*/asyncio/*", "*/anyio/*", "*/httpcore/*", "*/h11/*")
]
"""Not Python's own tables, such as that of all names, which grows by megabytes at once for whoever comes to be next."""


def allocated() -> int:
    """Bytes that are held, once nothing is under way."""
    gc.collect()
    return sum(each.size for each in tracemalloc.take_snapshot().filter_traces(OURS).statistics("filename"))


@contextmanager
def traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


async def metric(caller: Caller, name: str) -> int:
    """A metric's value as it is now."""
    text = (await caller.http.get("/metrics")).text
    return int(float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1]))


@pytest.mark.parametrize("letters", ["a long answer", "a long answer \N{GRINNING FACE}"], ids=["latin", "an emoji"])
async def test_hits_of_long_audio_hold_no_more_than_the_tier_may(tmp_path: Path, letters: str) -> None:
    backends = {"scripted": {"seconds_per_char": 0.1}}
    cache = CacheSettings(hot_bytes=HOT_BYTES)
    texts = [f"This is {letters} to the question of number {n}, and it is heard again and again." for n in range(60)]
    async with running(tmp_path, backends=backends, cache=cache) as caller:
        await ask(caller, "Whatever is loaded with the first answer is here now.")
        with traced():
            before = allocated()
            for text in texts:
                await ask(caller, text)
            await asyncio.sleep(2.2)  # it is brought up to date each second
            told = await metric(caller, "voxgate_hot_tier_bytes")
            held = allocated() - before
    assert told <= HOT_BYTES * 4 / 3, "more than the setting says"
    assert told > HOT_BYTES / 2, "nothing was kept in memory"
    assert held <= told + UNTOLD_BYTES, "more than the metric says"


async def ask(caller: Caller, text: str) -> None:
    """A text until it is a hit, on both surfaces and under several names of the server."""
    for host in ("one.example", "two.example", "two.example"):
        answer = await caller.post("runsync", {"input": {"text": text, "format": "wav"}}, headers={"Host": host})
        assert answer.json()["status"] == "COMPLETED"
    for _ in range(2):
        body: dict[str, Any] = {"model": "tts-1", "input": text, "voice": "alloy", "response_format": "wav"}
        assert (await caller.http.post("/v1/audio/speech", json=body)).status_code == httpx.codes.OK


LONG = "\n\n".join(f"Paragraph number {n} says something of its own, and then it ends at last." for n in range(40))


async def first_pages(caller: Caller, ids: list[str]) -> None:
    for job_id in ids:
        assert (await poll(caller, job_id))["stream"], "there is nothing to be kept"


async def test_streams_hold_no_more_between_two_polls_than_they_may(tmp_path: Path) -> None:
    backends = {"scripted": {"seconds_per_char": 0.1}}
    cache = CacheSettings(hot_bytes=0, stream_bytes=4_000_000)
    async with running(tmp_path, backends=backends, cache=cache) as caller:
        ids = [await caller.run(LONG, format="wav", delivery="url") for _ in range(12)]
        for job_id in ids:
            await caller.until(job_id)
        await first_pages(caller, ids[:1])
        with traced():
            before = allocated()
            await first_pages(caller, ids)
            told = await metric(caller, "voxgate_stream_bytes")
            held = allocated() - before
        assert 1_000_000 < told <= 4_000_000
        assert held <= told + UNTOLD_BYTES


async def test_a_stream_that_nobody_polls_lets_go_of_its_audio_and_keeps_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []

    def counted(part: ChunkAudio, *rest: Any) -> list[StreamOutput]:
        encoded.append(part.index)
        return items_of(part, *rest)

    monkeypatch.setattr(stream, "items_of", counted)
    clock = JumpyClock()
    async with running(tmp_path, clock, backends={"scripted": {"seconds_per_char": 0.1}}) as caller:
        job_id = await caller.run(LONG, format="wav", delivery="url")
        await caller.until(job_id)
        whole = (await poll(caller, job_id, **{"from": 0}))["stream"]
        items: list[dict[str, Any]] = []
        pages = 0
        while page := (await poll(caller, job_id))["stream"]:
            items += [item["output"] for item in page]
            pages += 1
            assert await metric(caller, "voxgate_stream_bytes") > 0
            clock.ahead_s += 61.0
            async with asyncio.timeout(20):
                while await metric(caller, "voxgate_stream_bytes"):
                    await asyncio.sleep(0.05)
        assert [item["index"] for item in items] == list(range(len(items))) and pages > 3
        assert items[: len(whole)] == [item["output"] for item in whole]
        finished = await caller.http.get((await caller.status(job_id))["output"]["audio_url"])
        assert b"".join(base64.b64decode(item["audio_base64"])[44:] for item in items) == finished.content[44:]
    encoded_once = len(whole) + 1  # for the page that gave nothing out
    assert len(encoded) <= encoded_once + 40 + pages, (
        "more was encoded than was given and what an answer had no room for"
    )


class Hanging:
    """A receiver that reads nothing of a body until it is told to, and then all of it."""

    def __init__(self) -> None:
        self.begun = 0
        self.go_on = asyncio.Event()
        self.got: list[tuple[dict[str, str], bytes]] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in head[1:]) if n}
        self.begun += 1
        await self.go_on.wait()
        self.got.append((headers, await reader.readexactly(int(headers["content-length"]))))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


async def test_webhooks_that_hang_hold_pieces_of_their_audio_and_come_whole(tmp_path: Path) -> None:
    hanging = [Hanging() for _ in range(3)]
    servers = [await asyncio.start_server(each.handle, "127.0.0.1", 0) for each in hanging]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    cache = CacheSettings(hot_bytes=0)
    backends = {"scripted": {"seconds_per_char": 0.03}}
    async with running(tmp_path, backends=backends, cache=cache, webhook_allow=("127.0.0.1",)) as caller:
        spoken = await caller.say(LONG, format="wav")
        audio = spoken["output"]["audio_base64"]
        size, spoken = len(audio), {}
        assert size > 5_000_000
        with traced():
            before = allocated()
            for port in ports * 4:
                await caller.run(LONG, format="wav", webhook=f"http://127.0.0.1:{port}/")
            async with asyncio.timeout(30):
                while sum(each.begun for each in hanging) < 12:
                    await asyncio.sleep(0.02)
            held, told = allocated() - before, await metric(caller, "voxgate_webhook_bytes")
        for each in hanging:
            each.go_on.set()
        async with asyncio.timeout(60):
            while sum(len(each.got) for each in hanging) < 12:
                await asyncio.sleep(0.02)
        assert held <= told + UNTOLD_BYTES and told < size * 2
        secret = webhook_secret((tmp_path / "signing.key").read_bytes().strip(), "default")
        for headers, body in (got for each in hanging for got in each.got):
            assert json.loads(body)["output"]["audio_base64"] == audio
            Webhook(secret).verify(body, headers)
    for server in servers:
        server.close()


async def test_bodies_that_are_under_way_leave_room_for_other_tenants_and_the_rest_waits() -> None:
    budget, order = Budget(100), []

    async def hold(name: str, tenant: str, size_bytes: int, until: asyncio.Event) -> None:
        async with budget.room(tenant, size_bytes, 10):
            order.append(name)
            await until.wait()

    first, later = asyncio.Event(), asyncio.Event()
    tasks = [
        asyncio.create_task(hold(name, tenant, size_bytes, until))
        for name, tenant, size_bytes, until in (
            ("one", "a", 40, first), ("two", "a", 20, later), ("other", "b", 40, later), ("huge", "c", 900, later),
        )
    ]  # fmt: skip
    await asyncio.sleep(0)
    assert order == ["one", "other"] and budget.held_bytes == 80
    first.set()
    await asyncio.sleep(0.01)
    assert order == ["one", "other", "two"], "a huge one waits for its half"
    with pytest.raises(NoRoom):
        async with budget.room("d", 50, 0.01):
            raise AssertionError("there is no room for it")
    later.set()
    await asyncio.gather(*tasks)
    assert order[-1] == "huge" and budget.held_bytes == 0


def test_the_rest_of_a_cancelled_wait_goes_to_nobody() -> None:
    async def main() -> int:
        budget = Budget(100)
        async with budget.room("a", 50, 1):
            waits = asyncio.create_task(budget.room("a", 50, 10).__aenter__())
            await asyncio.sleep(0)
            waits.cancel()
            await asyncio.gather(waits, return_exceptions=True)
        return budget.held_bytes

    assert asyncio.run(main()) == 0

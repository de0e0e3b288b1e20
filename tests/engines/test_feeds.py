from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

from support.hosting import context
from support.posting import post

from backends.interface import Voice
from backends.testing.scripted import ScriptedBackend, ScriptedSettings
from gateway.clock import SystemClock
from gateway.engines import wire
from gateway.engines.chunk import ChunkSpec
from gateway.engines.inline import InlineFeed
from gateway.engines.worker import WorkerFeed, WorkerSpec

SPEC = WorkerSpec(ScriptedBackend, ScriptedSettings(), context(), post, beat_s=60)


def chunk_message(chunk_id: int) -> wire.ChunkMessage:
    return wire.ChunkMessage(chunk_id, ChunkSpec(f"text {chunk_id}", Voice("low", ("*",), "1"), "en", 0))


def test_a_worker_asks_again_when_its_chunk_is_cancelled_before_it_looked() -> None:
    ours, theirs = socket.socketpair()
    feed = WorkerFeed(wire.MessageSocket(theirs), SPEC)
    gateway = wire.MessageSocket(ours)
    taken: list[Any] = []
    engine = threading.Thread(target=lambda: taken.extend(feed.take(1, wait=True)), daemon=True)
    engine.start()
    heard = []

    def hear() -> Any:
        body = gateway.receive()
        assert body is not None
        heard.append(wire.decode_from_worker(body))
        return heard[-1]

    assert hear() == wire.Want(1, True)
    with feed._changed:  # both arrive while the engine's thread has not woken up yet
        feed.deliver([chunk_message(1)])
        feed.cancel([1])
    assert hear() == wire.Dropped(1)
    assert hear() == wire.Want(1, True)
    feed.deliver([chunk_message(2)])
    engine.join(10)
    assert [chunk.id for chunk in taken] == [2]


async def test_an_inline_backend_asks_again_likewise() -> None:
    heard: list[Any] = []
    feed = InlineFeed(heard.append, SPEC, SystemClock())
    taking = asyncio.create_task(feed.take(1, wait=True))
    await asyncio.sleep(0)
    feed.deliver([chunk_message(1)])
    feed.cancel([1])
    async with asyncio.timeout(10):
        while len(heard) < 3:
            await asyncio.sleep(0)
        feed.deliver([chunk_message(2)])
        assert [chunk.id for chunk in await taking] == [2]
    assert heard == [wire.Want(1, True), wire.Dropped(1), wire.Want(1, True)]

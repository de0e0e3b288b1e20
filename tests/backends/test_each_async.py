"""`each_async` owns the tasks of a vendor's backend: it fills its room, ends what is cancelled, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import numpy as np
import pytest
from support.hosting import GUARD_S, order

from backends.each import each_async
from backends.interface import BackendUnavailable, Chunk, ChunkFailed, Event, Take
from backends.testing.feeds import KitFeed, WaitingKitFeed
from backends.testing.scripted import ScriptedOptions

STEPS = 3
PCM = np.full(100, 0.1, np.float32)


class Service:
    """A vendor whose calls take `STEPS` awaits, each of which ends when the test says so."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.cancelled_at: dict[int, int] = {}
        self.most = 0
        self._present: set[int] = set()
        self._may_go: dict[tuple[int, int], asyncio.Event] = {}

    def go(self, chunk_id: int, step: int) -> asyncio.Event:
        return self._may_go.setdefault((chunk_id, step), asyncio.Event())

    def answer(self, *chunk_ids: int) -> None:
        for chunk_id in chunk_ids:
            for step in range(STEPS):
                self.go(chunk_id, step).set()

    async def speak(self, chunk: Chunk) -> tuple[Any, int]:
        self.begun.append(chunk.id)
        self._present.add(chunk.id)
        self.most = max(self.most, len(self._present))
        step = 0
        try:
            for step in range(STEPS):
                await self.go(chunk.id, step).wait()
        except asyncio.CancelledError:
            self.cancelled_at[chunk.id] = step
            raise
        finally:
            self._present.remove(chunk.id)
        return PCM, 24_000


def chunks(n: int) -> list[Chunk]:
    spec = order().spec
    return [Chunk(i, spec.text, spec.voice, "en", 7, ScriptedOptions()) for i in range(n)]


@pytest.fixture
def service() -> Service:
    return Service()


async def turns(n: int = 10) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def all_of(events: Any) -> list[Event]:
    async with asyncio.timeout(GUARD_S):
        return [event async for event in events]


async def test_a_free_place_is_filled_while_other_calls_run(service: Service) -> None:
    feed = WaitingKitFeed(KitFeed(chunks(4), set()))
    speaking = asyncio.create_task(all_of(each_async(feed, service.speak, 2)))
    await turns()
    assert service.begun == [0, 1]
    service.answer(1)
    await turns()
    assert service.begun == [0, 1, 2], "the call of chunk 0 still runs"
    service.answer(0, 2, 3)
    assert sorted(event.chunk_id for event in await speaking) == [0, 1, 2, 3]
    assert service.most == 2


@pytest.mark.parametrize("step", range(STEPS))
async def test_a_cancel_ends_the_call_at_each_await_and_frees_its_place(service: Service, step: int) -> None:
    feed = WaitingKitFeed(KitFeed(chunks(3), set()))
    speaking = asyncio.create_task(all_of(each_async(feed, service.speak, 1)))
    for past in range(step):
        service.go(0, past).set()
    await turns()
    feed.cancel(0)
    await turns()
    assert service.cancelled_at == {0: step}
    assert service.begun == [0, 1]
    service.answer(1, 2)
    assert [event.chunk_id for event in await speaking] == [1, 2]


@pytest.mark.parametrize("after", range(8))
async def test_a_cancel_in_any_turn_of_the_loop_gives_no_event_and_loses_no_other(service: Service, after: int) -> None:
    feed = WaitingKitFeed(KitFeed(chunks(3), set()))
    service.answer(0, 1, 2)
    given: list[tuple[int, bool]] = []

    async def listen() -> None:
        async for event in each_async(feed, service.speak, 2):
            given.append((event.chunk_id, feed.cancelled(event.chunk_id)))

    listening = asyncio.create_task(listen())
    await turns(after)
    feed.cancel(0)
    async with asyncio.timeout(GUARD_S):
        await listening
    assert not any(cancelled for _, cancelled in given)
    assert {1, 2} <= {chunk_id for chunk_id, _ in given}


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_no_call_outlives_the_generator(service: Service, how: str) -> None:
    feed = WaitingKitFeed(KitFeed(chunks(4), set()))
    events = each_async(feed, service.speak, 3)
    service.answer(0)
    assert (await anext(events)).chunk_id == 0
    if how == "closed":
        await events.aclose()
    else:
        waiting = asyncio.ensure_future(anext(events))
        await turns()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
    assert set(service.cancelled_at) == set(service.begun) - {0}
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("error", [ValueError("key-1"), KeyError("key-1"), asyncio.CancelledError()])
async def test_a_call_that_raises_fails_its_chunk_alone_and_shows_no_secret(
    service: Service, error: BaseException
) -> None:
    async def speak(chunk: Chunk) -> tuple[Any, int]:
        if chunk.id == 0:
            raise error
        return await service.speak(chunk)

    service.answer(1)
    feed = WaitingKitFeed(KitFeed(chunks(2), set()))
    failed, spoken = sorted(await all_of(each_async(feed, speak, 2)), key=lambda event: event.chunk_id)
    assert isinstance(failed, ChunkFailed) and failed.retryable and failed.kind == "failed"
    assert "key-1" not in failed.error
    assert isinstance(spoken, Take)


async def test_a_backend_that_becomes_unavailable_ends_with_all_its_calls(service: Service) -> None:
    async def speak(chunk: Chunk) -> tuple[Any, int]:
        if chunk.id == 1:
            raise BackendUnavailable("the contract ended")
        return await service.speak(chunk)

    with pytest.raises(BackendUnavailable):
        await all_of(each_async(WaitingKitFeed(KitFeed(chunks(2), set())), speak, 2))
    assert service.cancelled_at == {0: 0}


async def test_a_function_may_give_the_event_itself() -> None:
    async def speak(chunk: Chunk) -> Event:
        return ChunkFailed(chunk.id, "busy", retryable=True, retry_after_s=3)

    (event,) = await all_of(each_async(WaitingKitFeed(KitFeed(chunks(1), set())), speak))
    assert isinstance(event, ChunkFailed) and event.retry_after_s == 3

"""Implements `synthesize` with a function that speaks one chunk: `each` in a worker process, `each_async` for vendors.

Plugin authors import both from `voxgate.plugin`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import TypeAlias

from backends.interface import AsyncFeed, BackendUnavailable, Chunk, ChunkFailed, Event, Feed, Pcm, Take

Spoken: TypeAlias = tuple[Pcm, int] | Event
"""The samples of a chunk and their rate in Hz, or the event for the chunk."""


def each(feed: Feed, speak: Callable[[Chunk], Spoken]) -> Iterator[Event]:
    """Implement `synthesize` with a function that speaks one chunk: `return each(feed, self.speak)`.

    Args:
        speak: an exception fails that chunk alone; a `ValueError` means that the text is at fault, and is not tried
            again; `BackendUnavailable` ends the backend.
    """
    while chunks := feed.take(1, wait=True):
        for chunk in chunks:
            if feed.cancelled(chunk.id):
                continue
            try:
                event = _event(chunk, speak(chunk))
            except BackendUnavailable:
                raise
            except ValueError as error:
                event = ChunkFailed(chunk.id, str(error), kind="invalid_input")
            except Exception as error:  # noqa: BLE001 - one bad chunk must not end the engine
                event = ChunkFailed(chunk.id, f"{type(error).__name__}: {error}", retryable=True)
            yield event


async def each_async(
    feed: AsyncFeed, speak: Callable[[Chunk], Awaitable[Spoken]], concurrency: int = 1
) -> AsyncGenerator[Event, None]:
    """Implement `synthesize` with a function that awaits a service: `return each_async(feed, self.speak, 8)`.

    Each chunk is spoken in a task of its own. New chunks are taken while others are spoken, and a cancelled chunk's
    task is cancelled at that moment. All tasks have ended when the generator has, however that ends.

    Args:
        speak: an exception fails that chunk alone and is tried again. A `ValueError` too, unlike with `each`: clients
            raise it for a broken answer. Callers do not see the message, which may hold an address or a key.
            `BackendUnavailable` ends the backend.
        concurrency: the most chunks spoken at the same time; as in the capabilities.
    """
    calls: dict[asyncio.Task[Event], int] = {}
    taking: asyncio.Task[list[Chunk]] | None = None
    closed = False
    try:
        while True:
            if taking is None and not closed and len(calls) < concurrency:
                taking = asyncio.create_task(feed.take(concurrency - len(calls), wait=True))
            waited = {*calls} if taking is None else {*calls, taking}
            if not waited:
                return
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if taking is not None and taking.done():
                chunks, taking = taking.result(), None
                closed = not chunks
                for chunk in chunks:
                    if not feed.cancelled(chunk.id):
                        call = asyncio.create_task(_call(speak, chunk))
                        calls[call] = chunk.id
                        feed.when_cancelled(chunk.id, call.cancel)
            for call in [call for call in calls if call.done()]:
                chunk_id = calls.pop(call)
                if call.cancelled():  # by a cancel of the chunk, or by the client itself, as those of gRPC may
                    event: Event = ChunkFailed(chunk_id, "the call was cancelled", retryable=True)
                else:
                    event = call.result()
                if not feed.cancelled(chunk_id):
                    yield event
    finally:
        left = [*calls] if taking is None else [*calls, taking]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _call(speak: Callable[[Chunk], Awaitable[Spoken]], chunk: Chunk) -> Event:
    try:
        return _event(chunk, await speak(chunk))
    except BackendUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - one bad answer must not end the other calls
        return ChunkFailed(chunk.id, f"the call failed ({type(error).__name__})", retryable=True)


def _event(chunk: Chunk, spoken: Spoken) -> Event:
    if isinstance(spoken, Take | ChunkFailed):
        return spoken
    pcm, rate = spoken
    return Take(chunk.id, pcm, rate)

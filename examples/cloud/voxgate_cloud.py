"""A backend for a voice behind an HTTP API: it runs on the gateway's event loop with several calls at the same time."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import msgspec
import numpy as np

from voxgate.plugin import (
    AsyncFeed,
    BackendContext,
    BackendUnavailable,
    Capabilities,
    Chunk,
    ChunkFailed,
    ChunkRule,
    Event,
    Limit,
    NoOptions,
    Price,
    Progress,
    Take,
    Voice,
)

RATE = 24_000
CALLS = 8
"""Calls at the same time, as the vendor's plan allows."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of [backends.cloud]; set `api_key` as VOXGATE_BACKENDS__CLOUD__API_KEY, so that it is in no file."""

    api_key: str = ""
    url: str = "https://speech.example.com/v1/synthesize"


class CloudBackend:
    name = "cloud"
    api_version = 1
    Settings = Settings
    RequestOptions = NoOptions

    def __init__(self, settings: Settings, context: BackendContext) -> None:
        self.settings = settings

    def capabilities(self) -> Capabilities:
        return Capabilities(
            languages=("en-US", "de-DE"),
            sample_rate=RATE,
            chunk=ChunkRule(target_chars=240, max=Limit(5000, "utf8_bytes")),
            price=Price(16.0, "million_characters", "2026-11-01"),
            host="inline",
            concurrency=CALLS,
        )

    def voices(self) -> tuple[Voice, ...]:
        return (Voice("ava", ("en-US",), "ava-1"), Voice("jan", ("de-DE",), "jan-1"))

    def revision(self) -> str:
        return "cloud-1"

    def load(self, progress: Progress) -> None:
        if not self.settings.api_key:
            raise BackendUnavailable("there is no API key", "set VOXGATE_BACKENDS__CLOUD__API_KEY")

    def unload(self) -> None:
        pass

    async def synthesize(self, feed: AsyncFeed) -> AsyncIterator[Event]:
        calls: dict[asyncio.Task[Event], int] = {}
        headers = {"Authorization": f"Bearer {self.settings.api_key}"}
        async with httpx.AsyncClient(headers=headers, timeout=60) as client:
            while True:
                if len(calls) < CALLS:
                    for chunk in await feed.take(CALLS - len(calls), wait=not calls):
                        calls[asyncio.create_task(self._speak(client, chunk))] = chunk.id
                if not calls:
                    return  # waited and got no chunk: the feed is closed
                await asyncio.wait(calls, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
                for call, chunk_id in list(calls.items()):
                    if feed.cancelled(chunk_id):
                        call.cancel()
                        del calls[call]
                    elif call.done():
                        del calls[call]
                        yield call.result()

    async def _speak(self, client: httpx.AsyncClient, chunk: Chunk) -> Event:
        asked = {"text": chunk.text, "voice": chunk.voice.name, "language": chunk.language}
        try:
            answer = await client.post(self.settings.url, json=asked)
        except httpx.HTTPError as error:
            return ChunkFailed(chunk.id, f"the service does not answer ({type(error).__name__})", retryable=True)
        status = answer.status_code
        if status in (401, 403):
            cure = "the service refuses the API key; set VOXGATE_BACKENDS__CLOUD__API_KEY"
            return ChunkFailed(chunk.id, cure, kind="unavailable")
        if status == 413:
            return ChunkFailed(chunk.id, "the service finds the text too long", kind="too_long")
        if status == 429 or status >= 500:
            await asyncio.sleep(_pause_s(answer))  # the gateway itself pauses for less than a second
            return ChunkFailed(chunk.id, f"the service answered {status}", retryable=True)
        if status != 200:
            return ChunkFailed(chunk.id, f"the service refuses this text ({status})", kind="invalid_input")
        return Take(chunk.id, np.frombuffer(answer.content, "<i2").astype(np.float32) / 32768, RATE)


def _pause_s(answer: httpx.Response) -> float:
    asked = answer.headers.get("Retry-After", "")
    return min(float(asked), 30.0) if asked.isdecimal() else 0.5

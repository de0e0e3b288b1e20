"""A backend for a voice behind an HTTP API: it runs on the gateway's event loop with several calls at the same time."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial

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
    each_async,
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
        headers = {"Authorization": f"Bearer {self.settings.api_key}"}
        async with httpx.AsyncClient(headers=headers, timeout=60) as client:
            speak = partial(self._speak, client)
            async with contextlib.aclosing(each_async(feed, speak, CALLS)) as events:
                async for event in events:
                    yield event

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
            busy = f"the service answered {status}"
            return ChunkFailed(chunk.id, busy, retryable=True, retry_after_s=_retry_after_s(answer))
        if status != 200:
            return ChunkFailed(chunk.id, f"the service refuses this text ({status})", kind="invalid_input")
        return Take(chunk.id, np.frombuffer(answer.content, "<i2").astype(np.float32) / 32768, RATE)


def _retry_after_s(answer: httpx.Response) -> float | None:
    asked = answer.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else None

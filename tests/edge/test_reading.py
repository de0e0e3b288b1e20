"""Callers who leave before they are answered, and callers who do not read."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.running import Caller
from support.sockets import KEYED, answer_of, asking, connected, posted

pytestmark = pytest.mark.asyncio(loop_scope="module")

STALL_S = 0.5
"""As the connections of these tests have it."""

SPOKEN = b'{"model": "tts-1", "input": "Heard by nobody, however long it is.", "voice": "alloy"}'


@pytest.mark.parametrize("wait_s", [0.0, 0.02, 0.15])
@pytest.mark.parametrize("kind", ["hits", "misses", "polls", "speech", "mixed"])
async def test_callers_who_leave_while_several_of_their_requests_wait_are_no_defect(
    caller: Caller, caplog: pytest.LogCaptureFixture, kind: str, wait_s: float
) -> None:
    missed = json.dumps({"input": {"text": "Slow.", "options": {"delay_s": 0.1}, "cache": "off"}}).encode()
    hit, miss = posted(b"Host: x", KEYED), posted(b"Host: x", KEYED, body=missed)
    poll = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    speech = posted(b"Host: x", KEYED, path=b"/v1/audio/speech", body=SPOKEN)
    requests = {"hits": hit * 20, "misses": miss * 5, "polls": poll * 20, "speech": speech * 5}
    requests["mixed"] = hit + miss + poll + speech + miss + hit + poll + speech
    for abort in (False, True):
        async with connected(caller) as (_, writer):
            writer.write(requests[kind])
            await asyncio.sleep(wait_s)
            if abort:
                writer.transport.abort()
        await asyncio.sleep(0.4)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert (await caller.say("Known."))["status"] == "COMPLETED"


LONG = {"text": "A long one. " * 200, "format": "wav"}


async def long_answer(caller: Caller) -> dict[str, Any]:
    """A finished job whose answer is of megabytes."""
    job = await caller.say(**LONG)
    assert job["status"] == "COMPLETED" and len(job["output"]["audio_base64"]) > 1_000_000
    return job


async def ways_to_a_long_answer(caller: Caller) -> dict[str, bytes]:
    job = await long_answer(caller)
    spoken = {"model": "tts-1", "input": LONG["text"], "response_format": "wav"}
    assert (await caller.http.post("/v1/audio/speech", json=spoken)).status_code == 200
    return {
        "hit": asking("/runsync", json.dumps({"input": LONG}).encode()),
        "status": asking(f"/status/{job['id']}"),
        "speech": asking("/v1/audio/speech", json.dumps(spoken).encode()),
        "file": asking(urlsplit(job["output"]["audio_url"]).path + "?" + urlsplit(job["output"]["audio_url"]).query),
    }


@pytest.mark.parametrize("way", ["hit", "status", "speech", "file"])
async def test_an_answer_nobody_reads_is_given_up(caller: Caller, way: str) -> None:
    request = (await ways_to_a_long_answer(caller))[way]
    async with connected(caller, receives=4096) as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request)
        await asyncio.sleep(4 * STALL_S)
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        got = b""
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                got += piece
        assert 0 < len(got) < 1_000_000, "it was sent whole to a caller who had stopped to read"


@pytest.mark.parametrize("way", ["hit", "status", "speech", "file"])
async def test_a_slow_reader_gets_the_whole_answer(caller: Caller, way: str) -> None:
    request = (await ways_to_a_long_answer(caller))[way]
    async with connected(caller, receives=65_536) as (reader, writer):
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        got = 0
        while got < length:
            got += len(await reader.read(50_000))
            await asyncio.sleep(0.05)  # altogether longer than an answer may wait without a reader
        assert got == length
        writer.write(asking("/health/live"))  # and the connection goes on
        assert (await answer_of(reader))[0] == 200

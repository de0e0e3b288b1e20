"""What a server keeps in memory is what its settings say, and what its metrics count."""

from __future__ import annotations

import asyncio
import gc
import pathlib
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.running import Caller, running

from gateway.settings.model import CacheSettings

HOT_BYTES = 8_000_000
UNTOLD_BYTES = 1_500_000
"""What the rest of a server and its client may grow by meanwhile: connections, compiled statements, modules."""


def allocated() -> int:
    """Bytes that are held, once nothing is under way."""
    gc.collect()
    held = tracemalloc.take_snapshot().filter_traces((tracemalloc.Filter(False, pathlib.__file__),))
    return sum(each.size for each in held.statistics("filename"))  # but for Python's own table of parts of paths


@contextmanager
def traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


async def metric(caller: Caller, name: str) -> int:
    """A metric's value, once it has been brought up to date."""
    await asyncio.sleep(2.2)
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

"""Refused requests leave nothing that only the garbage collector would free: it may not come for hours."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import pytest_asyncio
from support.running import Caller, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = "Word. " * 40_000
SPEECH = {"model": "tts-1", "input": "hi", "voice": "alloy"}
MANY = {"a": [{}] * 20}


def spoken(**fields: Any) -> dict[str, Any]:
    return {"input": {"text": "hi", **fields}}


REFUSED: dict[str, tuple[str, str, Any]] = {
    "speech: an unknown option": ("POST", "/v1/audio/speech", {**SPEECH, "options": MANY}),
    "speech: a long text with one": ("POST", "/v1/audio/speech", {**SPEECH, "input": LONG, "options": {"speeed": 1}}),
    "speech: an unknown parameter": ("POST", "/v1/audio/speech", {**SPEECH, "foo": MANY}),
    "speech: an unknown model": ("POST", "/v1/audio/speech", {**SPEECH, "model": "nope"}),
    "speech: no voice of that name": ("POST", "/v1/audio/speech", {**SPEECH, "voice": "nobody"}),
    "speech: no JSON": ("POST", "/v1/audio/speech", b'{"a":'),
    "an unknown option": ("POST", "/runsync", spoken(options=MANY)),
    "a long text with one": ("POST", "/runsync", spoken(text=LONG, options={"speeed": 1})),
    "a long text with one, queued": ("POST", "/run", spoken(text=LONG, options={"speeed": 1})),
    "an unknown key": ("POST", "/runsync", spoken(foo=MANY)),
    "an unknown backend": ("POST", "/runsync", spoken(backend="nope")),
    "an unknown voice": ("POST", "/runsync", spoken(voice="nobody")),
    "an unknown language": ("POST", "/runsync", spoken(language="xx-bogus-q")),
    "no JSON": ("POST", "/runsync", b'{"input":'),
    "half a character": ("POST", "/runsync", b'{"input":{"text":"a\\ud83d","foo":1}}'),
    "a policy out of range": ("POST", "/runsync", {**spoken(), "policy": {"ttl": 1}}),
    "a private webhook": ("POST", "/run", {**spoken(), "webhook": "http://127.0.0.1/"}),
    "a job nobody has": ("GET", "/status/nope", None),
    "a wrong dictionary": ("PUT", "/pronunciations", {"entries": [{"phrase": "a"}]}),
    "no recording": ("POST", "/voices", {"name": "a", "consent": "x", "audio_base64": "AAAA"}),
    "no upload": ("POST", "/voices", b"{"),
    "no such address": ("GET", "/nope", None),
    "another method": ("GET", "/runsync", None),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    async with running(tmp_path_factory.mktemp("gateway")) as caller:
        yield caller


@contextmanager
def garbage() -> Iterator[list[Any]]:
    """Collect the reference cycles the block leaves to the garbage collector."""
    gc.collect()
    gc.disable()
    found: list[Any] = []
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("name", REFUSED)
async def test_no_cycle_goes_through_the_error_of_a_refused_request(caller: Caller, name: str) -> None:
    method, path, body = REFUSED[name]
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    for _ in range(2):  # the first one may import something
        with garbage() as left:
            answer = await caller.http.request(method, path, content=content)
            await asyncio.sleep(0.05)
    assert answer.status_code >= 400 or answer.json()["status"] in ("FAILED", "IN_QUEUE")
    errors = [repr(each)[:200] for each in left if isinstance(each, BaseException)]
    assert not errors

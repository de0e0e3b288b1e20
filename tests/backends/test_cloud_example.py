"""The example of a cloud voice keeps the contract, and tells each answer of its service for what it is."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.interface import BackendContext, Chunk, ChunkFailed, Event, Take
from backends.testing.conformance import check
from backends.testing.feeds import KitFeed, WaitingKitFeed

FOLDER = Path(__file__).resolve().parents[2] / "examples/cloud"
KEY = "the key"
UNREACHABLE = "http://127.0.0.1:1/"


ASKED_TO_WAIT, MAY_ANSWER, ANSWERED = threading.Event(), threading.Event(), threading.Event()


class Vendor(BaseHTTPRequestHandler):
    """Answers with a tone, or with the status that the text names."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = 200 if self.headers["Authorization"] == f"Bearer {KEY}" else 401
        if status == 200 and asked["text"].startswith("answer "):
            status = int(asked["text"].split()[1])
        if asked["text"] == "wait":
            ASKED_TO_WAIT.set()
            if not MAY_ANSWER.wait(10):
                ANSWERED.set()
        tone = 8000 * np.sin(np.arange(len(asked["text"]) * 1440) / 20)
        body = tone.astype("<i2").tobytes() if status == 200 else b""
        if asked["text"] == "half a sample":
            body = b"1"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def vendor() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Vendor) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        patch.setenv("PYTHONPATH", str(FOLDER), prepend=os.pathsep)  # the kit imports it in a process of its own
        yield importlib.import_module("voxgate_cloud")


def _speak(example: Any, texts: list[str], *, url: str, key: str = KEY, cancelled: frozenset[int] = frozenset()) -> Any:
    backend = example.CloudBackend(example.Settings(key, url), BackendContext(Path()))
    backend.load(lambda share, text: None)
    voice = backend.voices()[0]
    chunks = [Chunk(n, text, voice, "en-US", 0, example.NoOptions()) for n, text in enumerate(texts)]
    feed = WaitingKitFeed(KitFeed(chunks, set(cancelled)))

    async def gather() -> dict[int, Event]:
        return {event.chunk_id: event async for event in backend.synthesize(feed)}

    return asyncio.run(gather())


def test_it_keeps_the_contract(example: Any, vendor: str) -> None:
    findings = check(example.CloudBackend, {"api_key": KEY, "url": vendor})
    assert len(findings) > 10
    assert not [finding for finding in findings if not finding.ok]


def test_without_a_key_the_kit_shows_the_cure(example: Any) -> None:
    (failed,) = [finding for finding in check(example.CloudBackend) if not finding.ok]
    assert "set VOXGATE_BACKENDS__CLOUD__API_KEY" in failed.detail


def test_more_chunks_than_calls_are_all_spoken(example: Any, vendor: str) -> None:
    texts = [f"Sentence {n}." for n in range(3 * example.CALLS)]
    events = _speak(example, texts, url=vendor, cancelled=frozenset({1, 20}))
    assert set(events) == set(range(len(texts))) - {1, 20}
    assert all(isinstance(event, Take) and event.pcm.size for event in events.values())


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, "invalid_input", False),
        (403, "unavailable", False),
        (413, "too_long", False),
        (429, "failed", True),
        (503, "failed", True),
    ],
)
def test_each_failure_of_the_service_is_told_for_what_it_is(
    example: Any, vendor: str, status: int, kind: str, retryable: bool
) -> None:
    events = _speak(example, [f"answer {status}", "A good one."], url=vendor)
    assert isinstance(events[0], ChunkFailed)
    assert (events[0].kind, events[0].retryable) == (kind, retryable)
    assert isinstance(events[1], Take)


async def test_a_cancel_ends_the_call_while_the_service_still_works(example: Any, vendor: str) -> None:
    backend = example.CloudBackend(example.Settings(KEY, vendor), BackendContext(Path()))
    waiting = Chunk(0, "wait", backend.voices()[0], "en-US", 0, example.NoOptions())
    feed = WaitingKitFeed(KitFeed([waiting], set()))

    async def gather() -> list[Event]:
        return [event async for event in backend.synthesize(feed)]

    speaking = asyncio.create_task(gather())
    try:
        assert await asyncio.to_thread(ASKED_TO_WAIT.wait, 30)
        feed.cancel(0)
        assert await speaking == []
        assert not ANSWERED.is_set()
    finally:
        MAY_ANSWER.set()


def test_a_service_that_asks_for_patience_is_quoted(example: Any, vendor: str) -> None:
    events = _speak(example, ["answer 429", "answer 503"], url=vendor)
    assert (events[0].retry_after_s, events[1].retry_after_s) == (1, None)


def test_an_answer_that_is_no_audio_fails_its_chunk_alone(example: Any, vendor: str) -> None:
    events = _speak(example, ["half a sample", "A good one."], url=vendor)
    assert isinstance(events[0], ChunkFailed) and events[0].retryable
    assert isinstance(events[1], Take)


def test_a_wrong_key_and_a_service_that_is_not_there_say_so(example: Any, vendor: str) -> None:
    wrong = _speak(example, ["Hello."], url=vendor, key="another")[0]
    assert wrong.kind == "unavailable" and "another" not in wrong.error
    absent = _speak(example, ["Hello."], url=UNREACHABLE)[0]
    assert absent.retryable and "does not answer" in absent.error

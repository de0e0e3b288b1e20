"""Bodies of the largest size a server takes, made to hold its loop or its memory."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.running import Caller
from support.served import site

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

MOST = 18_000_000
LEASE_S = 10.0
"""The default: a server that stands still for as long loses what it runs."""


def filled(begin: bytes, unit: bytes, end: bytes) -> bytes:
    return begin + unit * ((MOST - len(begin) - len(end)) // len(unit)) + end


RUNSYNC = {
    "an unknown envelope key and half a character": filled(
        b'{"x":[', b"[],", b'1],"input":{"text":"\\ud83d","foo":1}}'
    ),
    "halves of characters": filled(b'{"input":{"foo":1,"text":"', rb"\ud83d", b'"}}'),
    "whole ones and a half": filled(b'{"input":{"foo":1,"text":"\\ud83d', rb"\ud83d\ude00", b'"}}'),
    "escapes and a half": filled(b'{"input":{"foo":1,"text":"\\ud83d', rb"\\", b'"}}'),
    "options": filled(b'{"input":{"text":"a","options":{"a":[', b"{},", b"1]}}}"),
    "a text that is a list": filled(b'{"input":{"text":[', b"[],", b"1]}}"),
    "keys": b'{"input":{"text":"a",' + b",".join(b'"%d":1' % n for n in range(MOST // 12)) + b"}}",
    "one key again and again": filled(b'{"input":{', b'"seed":1,', b'"foo":1}}'),
    "a webhook": filled(b'{"input":{"text":"a"},"webhook":"http://', b"a.", b'"}'),
    "no JSON": filled(b'{"input":{"text":"a"},"x":[', b"[],", b"}"),
    "UTF-16": filled(b"\xff\xfe{\x00", b"\x3d\xd8", b"}\x00"),
}
SPEECH = {
    "speech: options": filled(b'{"model":"tts-1","input":"hi","voice":"alloy","options":{"a":[', b"{},", b"1]}}"),
    "speech: halves": filled(b'{"model":"tts-1","voice":"alloy","foo":1,"input":"', rb"\ud83d", b'"}'),
    "speech: keys": b'{"model":"tts-1",' + b",".join(b'"%d":1' % n for n in range(MOST // 12)) + b"}",
    "speech: no object": filled(b"[", b"[],", b"1]"),
}
BODIES = {name: ("/runsync", body) for name, body in RUNSYNC.items()} | {
    name: ("/v1/audio/speech", body) for name, body in SPEECH.items()
}


class Heartbeat:
    """The longest time in which another thread, and the loop, had no turn."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.over = threading.Event()

    def watch(self) -> None:
        last = time.monotonic()
        while not self.over.wait(0.005):
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - last)
            last = now

    async def watch_loop(self) -> None:
        last = time.monotonic()
        while not self.over.is_set():
            await asyncio.sleep(0.005)
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - last)
            last = now


@contextmanager
def heartbeat() -> Iterator[Heartbeat]:
    beats = Heartbeat()
    thread = threading.Thread(target=beats.watch)
    thread.start()
    task = asyncio.ensure_future(beats.watch_loop())
    try:
        yield beats
    finally:
        beats.over.set()
        thread.join()
        task.cancel()


@pytest.mark.parametrize("name", BODIES)
async def test_no_body_holds_the_server(caller: Caller, name: str) -> None:
    path, body = BODIES[name]
    with heartbeat() as beats:
        answer = await caller.http.post(path, content=body)
    assert answer.status_code == 400 or answer.json()["status"] == "FAILED"
    print(f"longest gap {beats.longest_s * 1000:.0f} ms: {name}")
    assert beats.longest_s < LEASE_S / 4


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc for the memory of a process")
@pytest.mark.parametrize("name", ["options", "speech: options", "a long text with a wrong option", "a wrong wait"])
async def test_ten_large_bodies_refused_leave_no_more_than_three(tmp_path: Path, name: str) -> None:
    long = filled(b'{"input":{"options":{"speeed":1},"text":"', b"Word. ", b'"}}')
    bodies = BODIES | {
        "a long text with a wrong option": ("/runsync", long),
        "a wrong wait": ("/runsync?wait=1", long),
    }
    path, body = bodies[name]
    async with site(tmp_path) as started:
        served = await started.start()
        marks = []
        for _ in range(12):
            answer = await served.caller.http.post(path, content=body)
            assert answer.status_code == 400 or answer.json()["status"] == "FAILED"
            marks.append(served.memory_mb())
        print(name, [round(mark) for mark in marks])
        assert marks[-1] < max(marks[:4]) + 3 * MOST / 2**20  # what came since the last full collection
        await served.stop()

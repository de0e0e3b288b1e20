"""Measures the longest pauses of this process, and those of another process that computes beside it."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time

_ANOTHER = """
import sys, threading, time
def compute():
    while not over.is_set():
        sum(range(1000))
over, longest = threading.Event(), 0.0
reader = threading.Thread(target=lambda: (sys.stdin.read(), over.set()))
for thread in (reader, threading.Thread(target=compute)):
    thread.start()
print("ready", flush=True)
last = time.monotonic()
while not over.wait(0.005):
    now = time.monotonic()
    longest, last = max(longest, now - last), now
print(longest)
"""


class Heart:
    """Measures the longest time for which a thread or a task of this process could not run.

    Another process measures the same beside a thread that computes, as the machine's own pauses stop both.
    Objects that exist before are excluded from Python's garbage collection, as in a server when it starts.
    """

    def __init__(self) -> None:
        self.longest_gap_s = 0.0
        self.longest_elsewhere_s = 0.0
        self._stop = threading.Event()

    async def __aenter__(self) -> Heart:
        gc.collect()
        gc.freeze()
        self._other = subprocess.Popen(
            [sys.executable, "-c", _ANOTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._other.stdout is not None
        await asyncio.to_thread(self._other.stdout.readline)
        self._thread = threading.Thread(target=self._beat)
        self._thread.start()
        self._task = asyncio.create_task(self._turns())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stop.set()
        self._task.cancel()
        await asyncio.to_thread(self._thread.join)
        longest, _ = await asyncio.to_thread(self._other.communicate)
        self.longest_elsewhere_s = float(longest)
        gc.unfreeze()

    def _note(self, since: float) -> float:
        now = time.monotonic()
        self.longest_gap_s = max(self.longest_gap_s, now - since)
        return now

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(0.005):
            last = self._note(last)

    async def _turns(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            last = self._note(last)

"""The load generator: a separate process with raw sockets, keep-alive, one request at a time per connection.

Reads a `Plan` as JSON from standard input and writes an `Outcome` as JSON to the file given as argument. The benchmarks
run it, not people.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import msgspec
import uvloop

_ID = re.compile(rb'"id":"([^"]+)"').search
_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE).search


class Step(msgspec.Struct, frozen=True):
    """One request of a round. `{id}` in the path is the id from the previous step's answer, or the connection's own.

    Args:
        expect: text that every answer must contain.
    """

    method: str
    path: str
    body: str = ""
    expect: str = ""


class Plan(msgspec.Struct, frozen=True):
    """A load: port, requests, connections and duration; each connection does at least one round.

    Args:
        ids: one id for each connection, for steps whose id comes from no earlier step.
    """

    port: int
    steps: tuple[Step, ...]
    connections: int = 1
    seconds: float = 1.0
    key: str = ""
    pause_s: float = 0.0
    ids: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """The result of a load: rounds done, the time of each in ms, the bytes of the largest last answer."""

    rounds: int
    seconds: float
    times_ms: list[float]
    answer_bytes: int


def run(plan: Plan) -> Outcome:
    """Run the load in a separate process and wait for it."""
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, "-m", "benchmarks.load", file.name]
        subprocess.run(command, input=msgspec.json.encode(plan), check=True)
        return msgspec.json.decode(Path(file.name).read_bytes(), type=Outcome)


class _Connection(asyncio.Protocol):
    """One connection: sends a request, waits for the answer, and repeats."""

    def __init__(self, plan: Plan, until: float, done: asyncio.Future[None], own_id: str) -> None:
        self._plan = plan
        self._until = until
        self._done = done
        self._got = bytearray()
        self._need = 0
        self._nth = 0
        self._id = own_id.encode()
        self._templates = [_request(plan, step) for step in plan.steps]
        self._expected = [step.expect.encode() for step in plan.steps]
        self.times_ms: list[float] = []
        self.answer_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._began = time.perf_counter()
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._got += data
        if not self._need:
            end = self._got.find(b"\r\n\r\n")
            if end < 0:
                return
            found = _LENGTH(self._got, 0, end)
            assert found is not None, bytes(self._got[:end])
            self._need = end + 4 + int(found.group(1))
        if len(self._got) >= self._need:
            answer, self._got, self._need = self._got, bytearray(), 0
            try:
                self._heard(answer)
            except (RuntimeError, AssertionError) as error:
                self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the server closed the connection"))

    def _heard(self, answer: bytearray) -> None:
        if not answer.startswith(b"HTTP/1.1 200") or self._expected[self._nth] not in answer:
            raise RuntimeError(f"unexpected answer: {bytes(answer[:400])!r}")
        self.answer_bytes = len(answer)
        self._nth += 1
        if self._nth < len(self._templates):
            found = _ID(answer)
            assert found is not None, "the answer holds no id"
            self._id = found.group(1)
            self._ask()
            return
        now = time.perf_counter()
        self.times_ms.append((now - self._began) * 1000)
        self._nth = 0
        if now >= self._until:
            self._end(None)
        elif self._plan.pause_s:
            asyncio.get_running_loop().call_later(self._plan.pause_s, self._again)
        else:
            self._again()

    def _again(self) -> None:
        self._began = time.perf_counter()
        self._ask()

    def _ask(self) -> None:
        head, tail = self._templates[self._nth]
        self._transport.write(head + self._id + tail if tail else head)

    def _end(self, error: BaseException | None) -> None:
        self._transport.close()
        if not self._done.done():
            if error is None:
                self._done.set_result(None)
            else:
                self._done.set_exception(error)


def _request(plan: Plan, step: Step) -> tuple[bytes, bytes]:
    """Return the bytes of a request before and after its id."""
    body = step.body.encode()
    before, _, after = step.path.partition("{id}")
    rest = f"{after} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\nContent-Type: application/json\r\n"
    if plan.key:
        rest += f"Authorization: Bearer {plan.key}\r\n"
    rest += f"Content-Length: {len(body)}\r\n\r\n"
    head = f"{step.method} {before}"
    return (head.encode(), rest.encode() + body) if "{id}" in step.path else ((head + rest).encode() + body, b"")


async def _load(plan: Plan) -> Outcome:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    until = began + plan.seconds
    connections = []
    for nth in range(plan.connections):
        done = loop.create_future()
        own_id = plan.ids[nth] if plan.ids else ""
        _, protocol = await loop.create_connection(
            lambda done=done, own_id=own_id: _Connection(plan, until, done, own_id), "127.0.0.1", plan.port
        )
        connections.append((protocol, done))
    for _, done in connections:
        await asyncio.wait_for(done, plan.seconds + 60)
    seconds = time.perf_counter() - began
    times = [ms for protocol, _ in connections for ms in protocol.times_ms]
    return Outcome(len(times), seconds, times, max(protocol.answer_bytes for protocol, _ in connections))


if __name__ == "__main__":
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    Path(sys.argv[1]).write_bytes(msgspec.json.encode(uvloop.run(_load(plan))))

"""What the gateway and a worker process say to each other.

A frame is a length (4 bytes, big-endian) and a body; a body is MessagePack of one of the messages below. Takes are
0.1 to 3 MB, so a frame is read straight into a buffer of its size: the event loop copies nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from backends.interface import FailureKind, Voice

_LENGTH = struct.Struct(">I")
_SCRATCH_BYTES = 64 * 1024


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Base of all messages."""


class ChunkMessage(Message, frozen=True):
    """One chunk for the worker; `chunk_id` is unique in the host."""

    chunk_id: int
    text: str
    ssml: str | None
    voice: Voice
    language: str
    seed: int
    options: dict[str, Any]
    finish: bytes
    has_letters: bool


class Deliver(Message, frozen=True):
    """Chunks the worker asked for."""

    errands: list[ChunkMessage]


class Cancel(Message, frozen=True):
    """Nobody wants these chunks any more."""

    chunk_ids: list[int]


class Close(Message, frozen=True):
    """No more chunks will come: unload and go."""


class Loading(Message, frozen=True):
    """How far loading is: a share in [0, 1], and what is being done."""

    share: float
    text: str


class WorkerReady(Message, frozen=True):
    """The engine is loaded and says its revision."""

    revision: str


class WorkerUnavailable(Message, frozen=True):
    """The backend raised BackendUnavailable; the worker ends."""

    reason: str
    cure: str


class Broken(Message, frozen=True):
    """The backend raised; the worker ends. `where` names the place and nothing of the text being spoken."""

    error: str
    where: str


class Want(Message, frozen=True):
    """The engine has room for so many more chunks; `idle` when it does nothing until they come."""

    n: int
    idle: bool


class TakeMessage(Message, frozen=True):
    """A take, finished by the post function; see TakeResult."""

    chunk_id: int
    file: bytes
    samples: int
    rate: int
    pcm: bytes
    gain_db: float
    warnings: tuple[str, ...]
    engine_s: float
    report: bytes


class Failed(Message, frozen=True):
    """One chunk could not be spoken."""

    chunk_id: int
    kind: FailureKind
    error: str
    retryable: bool


class Dropped(Message, frozen=True):
    """The engine knows that this chunk was cancelled."""

    chunk_id: int


class Beat(Message, frozen=True):
    """The engine is at work on what it holds."""


ToWorker: TypeAlias = Deliver | Cancel | Close
FromWorker: TypeAlias = (
    Loading | WorkerReady | WorkerUnavailable | Broken | Want | TakeMessage | Failed | Dropped | Beat
)

_encode = msgspec.msgpack.Encoder().encode
decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode


def frame(body: bytes) -> bytes:
    """A body with its length in front."""
    return _LENGTH.pack(len(body)) + body


def pack(message: Message) -> bytes:
    """A message as a frame."""
    return frame(_encode(message))


class MessageSocket:
    """The worker's end: blocking, one reader, any thread may send."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()

    def send(self, data: bytes) -> None:
        """Send one frame whole. A gateway that is gone needs none: the reader ends the process."""
        with self._sending, contextlib.suppress(ConnectionError):
            self._sock.sendall(data)

    def receive(self) -> bytes | None:
        """The next body; None when the gateway is gone."""
        head = self._exactly(_LENGTH.size)
        return None if head is None else self._exactly(_LENGTH.unpack(head)[0])

    def _exactly(self, size: int) -> bytes | None:
        buffer = bytearray(size)
        view, have = memoryview(buffer), 0
        while have < size:
            try:
                got = self._sock.recv_into(view[have:])
            except ConnectionError:
                return None
            if not got:
                return None
            have += got
        return bytes(buffer)


class FrameProtocol(asyncio.BufferedProtocol):
    """The gateway's end: calls `on_body` for every body and `on_end` once, both on the event loop."""

    def __init__(self, on_body: Callable[[bytearray], None], on_end: Callable[[], None]) -> None:
        self._on_body = on_body
        self._on_end = on_end
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._have = 0
        self._body: bytearray | None = None
        self._body_have = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: into a body that has begun, else into the scratch buffer."""
        if self._body is not None:
            return memoryview(self._body)[self._body_have :]
        return memoryview(self._scratch)[self._have :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        if self._body is not None:
            self._body_have += nbytes
            if self._body_have == len(self._body):
                body, self._body = self._body, None
                self._on_body(body)
            return
        self._have += nbytes
        start = 0
        while self._have - start >= _LENGTH.size:
            size = _LENGTH.unpack_from(self._scratch, start)[0]
            begin = start + _LENGTH.size
            if self._have - begin < size:
                if size > _SCRATCH_BYTES - _LENGTH.size:
                    self._body = bytearray(size)
                    self._body_have = self._have - begin
                    self._body[: self._body_have] = memoryview(self._scratch)[begin : self._have]
                    self._have = 0
                    return
                break
            self._on_body(self._scratch[begin : begin + size])
            start = begin + size
        if start:
            self._scratch[: self._have - start] = self._scratch[start : self._have]
            self._have -= start

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end is gone."""
        self._on_end()

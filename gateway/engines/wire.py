"""The messages between the gateway and a worker process, and their frames.

A frame is a length (4 bytes, big-endian) and a body; a body is MessagePack of one of the messages below. Takes are
0.1 to 3 MB, so a large frame is received into a buffer of its own size and the event loop copies it once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from backends.interface import FailureKind, Voice
from gateway.engines.chunk import ChunkSpec
from gateway.engines.order import TakeResult

_LENGTH = struct.Struct(">I")
_SCRATCH_BYTES = 64 * 1024


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Base class of all messages."""


class ChunkMessage(Message, frozen=True):
    """One chunk for the worker; `chunk_id` is unique in the host."""

    chunk_id: int
    spec: ChunkSpec


class Deliver(Message, frozen=True):
    """Chunks for a worker that asked for them with `Want`."""

    chunks: list[ChunkMessage]


class Cancel(Message, frozen=True):
    """A request to drop these chunks."""

    chunk_ids: list[int]


class Close(Message, frozen=True):
    """A request to unload and exit: no more chunks follow."""


class Loading(Message, frozen=True):
    """Progress of loading: a share in [0, 1] and the present step in words."""

    share: float
    text: str


class WorkerReady(Message, frozen=True):
    """The engine is loaded; carries its revision, and its voices, which may be others than before."""

    revision: str
    voices: tuple[Voice, ...]


class WorkerUnavailable(Message, frozen=True):
    """The backend raised BackendUnavailable; the worker ends."""

    reason: str
    cure: str


class Broken(Message, frozen=True):
    """The backend raised; the worker ends. `where` names the place and nothing of the text being spoken."""

    error: str
    where: str


class Want(Message, frozen=True):
    """The engine has room for `n` more chunks; `idle` when it does nothing until they come."""

    n: int
    idle: bool


class TakeMessage(Message, frozen=True):
    """The take of one chunk, finished by the post function."""

    chunk_id: int
    take: TakeResult


class Failed(Message, frozen=True):
    """One chunk could not be spoken."""

    chunk_id: int
    kind: FailureKind
    error: str
    retryable: bool
    retry_after_s: float | None = None


class Dropped(Message, frozen=True):
    """The worker dropped this cancelled chunk."""

    chunk_id: int


class Beat(Message, frozen=True):
    """Heartbeat: the engine still works on the chunks it holds."""


ToWorker: TypeAlias = Deliver | Cancel | Close
FromWorker: TypeAlias = (
    Loading | WorkerReady | WorkerUnavailable | Broken | Want | TakeMessage | Failed | Dropped | Beat
)

_encode = msgspec.msgpack.Encoder().encode
decode_to_worker = msgspec.msgpack.Decoder(ToWorker).decode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode


def frame(body: bytes) -> bytes:
    """Prefix a body with its length."""
    return _LENGTH.pack(len(body)) + body


def pack(message: Message) -> bytes:
    """Encode a message as a frame."""
    return frame(_encode(message))


class MessageSocket:
    """The worker's end of the connection: blocking, one reader, any thread may send."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()

    def send(self, data: bytes) -> None:
        """Send one whole frame. If the gateway is gone, drop it: the reader thread ends the process."""
        with self._sending, contextlib.suppress(ConnectionError):
            self._sock.sendall(data)

    def receive(self) -> bytes | None:
        """Return the next body; None when the gateway is gone."""
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
    """The gateway's end of the connection: calls `on_body` for every body and `on_end` once, on the event loop."""

    def __init__(self, on_body: Callable[[bytearray], None], on_end: Callable[[], None]) -> None:
        self._on_body = on_body
        self._on_end = on_end
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._have = 0
        self._body: bytearray | None = None
        self._body_have = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next bytes: the rest of a large body that has begun, else the scratch buffer."""
        if self._body is not None:
            return memoryview(self._body)[self._body_have :]
        return memoryview(self._scratch)[self._have :]

    def buffer_updated(self, nbytes: int) -> None:
        """Split the `nbytes` received bytes into bodies."""
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
        """Report that the other end is gone."""
        self._on_end()

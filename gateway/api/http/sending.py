"""Answers whose body is made while it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import Any, ClassVar

import msgspec
from litestar import Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from gateway.api.http.asgi import PIECE_BYTES
from gateway.errors import VoxgateError, code_of
from gateway.jobs.live import JobEnded
from gateway.settings.logs import get_logger
from storage.errors import StorageError

log = get_logger(__name__)


async def do_nothing() -> None:
    """Do nothing: the default of callbacks."""


async def always() -> bool:
    """Return True: the default of `may_end`."""
    return True


def pieces_of(parts: Iterable[bytes]) -> Iterator[memoryview]:
    """Yield the bytes of all parts in pieces of at most `PIECE_BYTES`, without copying them."""
    for part in parts:
        view = memoryview(part)
        for offset in range(0, len(view), PIECE_BYTES):
            yield view[offset : offset + PIECE_BYTES]


class MadeBody(msgspec.Struct, frozen=True):
    """A body that is made while it is sent.

    Args:
        pieces: the body. The generator is always closed.
        gone: completes when the caller has disconnected.
        leave: called if the answer was not sent completely.
        end: the last bytes. They are sent when all bytes before have left and the caller is still connected.
        may_end: called before the last bytes are sent; if it returns False, the answer is broken off.
        arrived: called when the answer was sent completely, before the caller's next request is read.
    """

    pieces: AsyncGenerator[bytes, None]
    gone: asyncio.Future[None]
    leave: Callable[[], Awaitable[None]] = do_nothing
    end: bytes = b""
    may_end: Callable[[], Awaitable[bool]] = always
    arrived: Callable[[], Awaitable[None]] = do_nothing


class PiecewiseResponse(Response[Any]):
    """An answer that is sent in pieces.

    If it cannot be finished, the connection is closed, so that the caller sees that the body is incomplete.
    """

    def __init__(self, made: MadeBody, headers: dict[str, str]) -> None:
        super().__init__(None, status_code=200, headers=headers)
        self._made = made

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> ASGIResponse:
        """Build the ASGI answer; see Response."""
        return _PiecewiseAnswer(self._made, self.headers)


class _PiecewiseAnswer(ASGIResponse):
    _should_set_content_length: ClassVar[bool] = False

    def __init__(self, made: MadeBody, headers: dict[str, str]) -> None:
        super().__init__(headers=headers)
        self._made = made
        self._complete = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        try:
            await asyncio.wait({sending, self._made.gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() or self._complete:  # a caller may disconnect after the last byte, before `_send` returns
                await sending
        except (VoxgateError, StorageError, JobEnded) as error:
            log.warning("speech_broken_off", code=getattr(error, "job_code", code_of(error)), reason=str(error))
        except Exception:
            log.exception("speech_broken_off")
        finally:
            # A return without the last piece makes the server close the connection, so the caller sees the cut.
            self._made.gone.cancel()
            sending.cancel()
            await asyncio.wait({sending})
            await self._made.pieces.aclose()
            if not self._complete:
                await self._made.leave()

    async def _send(self, send: Send) -> None:
        await self.start_response(send)
        async for piece in self._made.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        # A server delays the next message until its buffered bytes have left, and silently drops messages to a caller
        # that has disconnected. An empty message waits for the buffer, and one turn of the loop lets `gone` complete.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await asyncio.sleep(0)
        if not await self._made.may_end() or self._made.gone.done():
            return
        await send({"type": "http.response.body", "body": self._made.end, "more_body": False})
        self._complete = True
        await self._made.arrived()

"""Answers whose body is made while it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import Any, ClassVar

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


class PiecewiseResponse(Response[Any]):
    """An answer that is sent in pieces.

    If it cannot be finished, the connection is closed, so that the caller sees that the body is incomplete.

    Args:
        pieces: the body. The generator is always closed.
        gone: completes when the caller has disconnected.
        leave: called if the answer was not sent completely.
        end: the last bytes. They are sent when all bytes before have left and the caller is still connected.
        may_end: called before the last bytes are sent; if it returns False, the answer is broken off.
        arrived: called when the answer was sent completely, before the caller's next request is read.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        headers: dict[str, str],
        gone: asyncio.Future[None],
        leave: Callable[[], Awaitable[None]] = do_nothing,
        end: bytes = b"",
        may_end: Callable[[], Awaitable[bool]] = always,
        arrived: Callable[[], Awaitable[None]] = do_nothing,
    ) -> None:
        super().__init__(None, status_code=200, headers=headers)
        self._pieces = pieces
        self._gone = gone
        self._leave = leave
        self._end = end
        self._may_end = may_end
        self._arrived = arrived

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> ASGIResponse:
        """Build the ASGI answer; see Response."""
        return _PiecewiseAnswer(
            self._pieces, self.headers, self._gone, self._leave, self._end, self._may_end, self._arrived
        )


class _PiecewiseAnswer(ASGIResponse):
    _should_set_content_length: ClassVar[bool] = False

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        headers: dict[str, str],
        gone: asyncio.Future[None],
        leave: Callable[[], Awaitable[None]],
        end: bytes,
        may_end: Callable[[], Awaitable[bool]],
        arrived: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(headers=headers)
        self._pieces = pieces
        self._gone = gone
        self._leave = leave
        self._end = end
        self._may_end = may_end
        self._arrived = arrived
        self._complete = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        try:
            await asyncio.wait({sending, self._gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() or self._complete:  # a caller may disconnect after the last byte, before `_send` returns
                await sending
        except (VoxgateError, StorageError, JobEnded) as error:
            log.warning("speech_broken_off", code=getattr(error, "job_code", code_of(error)), reason=str(error))
        except Exception:
            log.exception("speech_broken_off")
        finally:
            # A return without the last piece makes the server close the connection, so the caller sees the cut.
            self._gone.cancel()
            sending.cancel()
            await asyncio.wait({sending})
            await self._pieces.aclose()
            if not self._complete:
                await self._leave()

    async def _send(self, send: Send) -> None:
        await self.start_response(send)
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        # A server delays the next message until its buffered bytes have left, and silently drops messages to a caller
        # that has disconnected. An empty message waits for the buffer, and one turn of the loop lets `gone` complete.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await asyncio.sleep(0)
        if not await self._may_end() or self._gone.done():
            return
        await send({"type": "http.response.body", "body": self._end, "more_body": False})
        self._complete = True
        await self._arrived()

"""A body that is made while it is sent."""

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


async def nothing() -> None:
    """For bodies that nobody has to be told about."""


async def always() -> bool:
    """For bodies that nothing keeps from their end."""
    return True


def pieces_of(parts: Iterable[bytes]) -> Iterator[memoryview]:
    """The bytes of all parts, none of them copied, at most `PIECE_BYTES` at a time."""
    for part in parts:
        view = memoryview(part)
        for offset in range(0, len(view), PIECE_BYTES):
            yield view[offset : offset + PIECE_BYTES]


class Sent(Response[Any]):
    """An answer that is sent piece by piece. One that cannot be finished is broken off, so that nobody takes what
    came of it for the whole.

    Args:
        pieces: closed in any case.
        gone: done when the caller has left.
        leave: called when the caller has not got everything.
        end: the last bytes; sent once all before them have left, and only to a caller who is still there.
        may_end: asked before the last bytes are sent; where it says no, the answer is broken off.
        arrived: called when the caller has got everything, before anything the caller asks next is looked at.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        headers: dict[str, str],
        gone: asyncio.Future[None],
        leave: Callable[[], Awaitable[None]] = nothing,
        end: bytes = b"",
        may_end: Callable[[], Awaitable[bool]] = always,
        arrived: Callable[[], Awaitable[None]] = nothing,
    ) -> None:
        super().__init__(None, status_code=200, headers=headers)
        self._pieces = pieces
        self._gone = gone
        self._leave = leave
        self._end = end
        self._may_end = may_end
        self._arrived = arrived

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> ASGIResponse:
        """See Response."""
        return _Sending(self._pieces, self.headers, self._gone, self._leave, self._end, self._may_end, self._arrived)


class _Sending(ASGIResponse):
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
            if sending.done() or self._complete:  # who has got everything may well leave before that is noted
                await sending
        except (VoxgateError, StorageError, JobEnded) as error:
            log.warning("speech_broken_off", code=getattr(error, "job_code", code_of(error)), reason=str(error))
        except Exception:
            log.exception("speech_broken_off")
        finally:
            # Returning without the last piece makes the server close the connection: the caller sees that it is cut.
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
        # A server lets the next message wait until what it holds of the last ones has left, and sends nothing, without
        # a word, to a caller who has gone. So an empty one, and a turn of the loop in which the going is heard of.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await asyncio.sleep(0)
        if not await self._may_end() or self._gone.done():
            return
        await send({"type": "http.response.body", "body": self._end, "more_body": False})
        self._complete = True
        await self._arrived()

"""Makes the body of a webhook: the job as `/status` answers it, with its request; audio is read in pieces."""

from __future__ import annotations

import asyncio
import binascii
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import BinaryIO

import msgspec

from gateway.errors import code_of
from gateway.jobs.answer.answers import Answers
from gateway.jobs.answer.job_view import JobViews
from gateway.settings.logs import get_logger
from storage.errors import StorageError
from storage.records import JobRecord, JobState

PIECE_BYTES = 3 << 14
"""Audio read at a time: a multiple of three, so that the base64 of the pieces is the base64 of the whole."""
PIECES_BYTES = 8 * PIECE_BYTES
"""Memory of a body's audio during sending: a piece, its base64, and a copy of that in each HTTP layer."""

log = get_logger("voxgate.webhooks")


class Body:
    """A body that can be read several times.

    Args:
        before, after: the JSON around the base64 of the audio; without audio `before` is the whole body.
        audio: the open file, or None.
    """

    def __init__(self, before: bytes, after: bytes = b"", audio: BinaryIO | None = None) -> None:
        self._before = before
        self._after = after
        self._audio = audio
        audio_bytes = 0 if audio is None else os.fstat(audio.fileno()).st_size
        self.size_bytes = len(before) + 4 * -(-audio_bytes // 3) + len(after)

    def read(self) -> Iterator[bytes]:
        """Yield the body in pieces; blocks the calling thread."""
        yield self._before
        if self._audio is not None:
            self._audio.seek(0)
            while piece := self._audio.read(PIECE_BYTES):
                yield binascii.b2a_base64(piece, newline=False)
        yield self._after

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces, each read in a thread when the previous one was sent."""
        pieces = self.read()
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            if piece:
                yield piece


class Bodies:
    """Makes bodies.

    Args:
        base_url: for `audio_url`, since there is no request with a Host header.
    """

    def __init__(self, job_views: JobViews, answers: Answers, base_url: str) -> None:
        self._job_views = job_views
        self._answers = answers
        self._base_url = base_url

    async def of(self, job: JobRecord, url: str, held: AsyncExitStack) -> Body:
        """Make the body for an ended job; `held` holds its audio."""
        try:
            blob_hash = job.blob_hash if job.state is JobState.COMPLETED else None
            if blob_hash is None or not await self._answers.may_be_inline(blob_hash):
                return Body(await self._json(job, url))
            mark = secrets.token_hex(16).encode()
            before, found, after = (await self._json(job, url, mark)).partition(mark)
            if not found:  # the job's `delivery` is `url`
                return Body(before)
            path = await held.enter_async_context(self._answers.audio.local(blob_hash))
            return Body(before, after, held.enter_context(await asyncio.to_thread(path.open, "rb")))
        except StorageError as error:
            log.error("webhook_without_audio", code=code_of(error))
            return Body(await self._json(msgspec.structs.replace(job, output=None), url))

    async def _json(self, job: JobRecord, url: str, mark: bytes | None = None) -> bytes:
        """Return the body as JSON, with a mark in place of the base64 of the audio."""
        view = await self._job_views.view(job, self._base_url, mark)
        fields = {field: getattr(view, field) for field in view.__struct_fields__}
        sent = {name: value for name, value in fields.items() if value is not msgspec.UNSET}
        request = msgspec.Raw(job.request.encode()) if job.request else None
        return msgspec.json.encode({**sent, "input": request, "webhook": url})

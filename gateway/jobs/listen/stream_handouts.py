"""Delivers each `/stream` item to one poll only, across servers.

Before a poll sends items it writes a token into the job's row. After the answer has left, the cursor moves and the
token is cleared; if the answer is dropped, only the token is cleared. Other polls wait until the token is cleared, or
unchanged for `STALE_S` of their own monotonic clock (its server may have died; clocks of servers are not compared).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict

import msgspec

from gateway.jobs.model.signals import Signals
from gateway.settings.logs import get_logger
from storage.errors import StorageError
from storage.jobs.queue import JobStore
from storage.records import JobRecord

log = get_logger(__name__)

STALE_S = 15.0
"""Seconds; longer than the time-outs of a database write and of RunPod's Python client."""
SEEN = 1024
"""Maximum number of observed tokens; a token that was evicted counts as new when it is seen again."""


def sent_signal(job_id: str) -> str:
    """Return the signal sent when an answer with items of the job has left or was dropped."""
    return f"sent {job_id}"


class Sending(msgspec.Struct, frozen=True):
    """An answer under way with the items of a job from `first` up to, not including, `after`.

    Args:
        token: its token in the job's row.
        began: monotonic seconds.
    """

    job_id: str
    token: str
    first: int
    after: int
    began: float


class Sendings:
    """Begins and ends the sendings of one server, and observes those of all servers."""

    def __init__(self, store: JobStore, signals: Signals) -> None:
        self._store = store
        self._signals = signals
        self._seen: OrderedDict[str, tuple[str, float]] = OrderedDict()  # by job: the token, and when first seen

    def under_way(self, job: JobRecord) -> bool:
        """Return whether an answer with the items at the job's cursor is under way; a stale token counts as none."""
        if job.stream_sending is None:
            self._seen.pop(job.id, None)
            return False
        now = asyncio.get_running_loop().time()
        token, since = self._seen.get(job.id, ("", now))
        if token != job.stream_sending:
            since = now
        self._seen[job.id] = (job.stream_sending, since)
        self._seen.move_to_end(job.id)
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return now - since < STALE_S

    async def begin(self, job: JobRecord, items: int) -> Sending | None:
        """Write a token before `items` items from the job's cursor on are sent; None if another poll was first.

        Raises:
            StorageError: the token could not be written.
        """
        began = asyncio.get_running_loop().time()
        token = secrets.token_hex(8)
        if not await self._store.begin_sending(job, token):
            return None
        return Sending(job.id, token, job.stream_cursor, job.stream_cursor + items, began)

    async def holds(self, sending: Sending) -> bool:
        """Return whether the sending still holds its token; a slow one may have been replaced as stale.

        Raises:
            StorageError: the row could not be read.
        """
        if asyncio.get_running_loop().time() - sending.began < STALE_S / 2:
            return True
        job = await self._store.peek(sending.job_id)
        return job is not None and job.stream_sending == sending.token

    async def arrived(self, sending: Sending) -> None:
        """Move the cursor past the items: only a poll with `from` gets them again."""
        await self._end(sending, sending.after)

    async def dropped(self, sending: Sending) -> None:
        """Leave the cursor, since the caller did not get all items: the next poll gets them again."""
        await self._end(sending, sending.first)

    async def _end(self, sending: Sending, cursor: int) -> None:
        try:
            await self._store.end_sending(sending.job_id, sending.token, cursor)
        except StorageError as error:
            log.warning("stream_cursor_not_moved", job_id=sending.job_id, code=error.code, reason=str(error))
        finally:
            self._signals.notify(sent_signal(sending.job_id))

"""Which answer of `/stream` is on its way: of several polls of a job, at whatever servers, one gives its items out.

An answer is noted in the job's row before it leaves. When it has left, the cursor moves and the note goes; when it is
dropped, only the note goes. Who finds a note waits. That of a server that died would stay: an observer no longer heeds
one that it has seen for `STALE_S` of its own monotonic clock, since nobody compares clocks between servers.
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
"""Longer than a write waits for its database, and than RunPod's Python client for an answer."""
SEEN = 1024
"""Notes that are remembered; one that is forgotten is heeded for longer."""


def sent_signal(job_id: str) -> str:
    """What is notified when an answer with items of the job has left or was dropped."""
    return f"sent {job_id}"


class Sending(msgspec.Struct, frozen=True):
    """An answer that is on its way with the items of a job from `first` up to `after`.

    Args:
        token: names it in the job's row.
        began: on the monotonic clock.
    """

    job_id: str
    token: str
    first: int
    after: int
    began: float


class Sendings:
    """Begins and ends the sendings of one server, and heeds those of all."""

    def __init__(self, store: JobStore, signals: Signals) -> None:
        self._store = store
        self._signals = signals
        self._seen: OrderedDict[str, tuple[str, float]] = OrderedDict()  # by job: the token, and since when

    def under_way(self, job: JobRecord) -> bool:
        """Whether an answer with the items at the job's cursor is on its way, as far as can be told."""
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
        """Note that the `items` from the job's cursor on are about to leave; None where another poll was first.

        Raises:
            StorageError: the database takes no note.
        """
        began = asyncio.get_running_loop().time()
        token = secrets.token_hex(8)
        if not await self._store.begin_sending(job, token):
            return None
        return Sending(job.id, token, job.stream_cursor, job.stream_cursor + items, began)

    async def holds(self, sending: Sending) -> bool:
        """Whether nobody has taken the place of a sending that was so slow that it may have seemed dead.

        Raises:
            StorageError: the database does not say.
        """
        if asyncio.get_running_loop().time() - sending.began < STALE_S / 2:
            return True
        job = await self._store.peek(sending.job_id)
        return job is not None and job.stream_sending == sending.token

    async def arrived(self, sending: Sending) -> None:
        """The items have left: nobody is given them again, unless they ask with `from`."""
        await self._end(sending, sending.after)

    async def dropped(self, sending: Sending) -> None:
        """The caller has not got them all: they are given again."""
        await self._end(sending, sending.first)

    async def _end(self, sending: Sending, cursor: int) -> None:
        try:
            await self._store.end_sending(sending.job_id, sending.token, cursor)
        except StorageError as error:
            log.warning("stream_cursor_not_moved", job_id=sending.job_id, code=error.code, reason=str(error))
        finally:
            self._signals.notify(sent_signal(sending.job_id))

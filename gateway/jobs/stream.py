"""`/stream`: the chunks of a job as small files, each given once, while the job is still running."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import msgspec
from msgspec import UNSET, UnsetType

from gateway.jobs.follow import LOOK_S, Followers, Following, take_signal
from gateway.jobs.items import StreamOutput, items_of
from gateway.jobs.sendings import Sending, Sendings, sent_signal
from storage.jobs import JobStore
from storage.records import JobRecord, JobState

MAX_ANSWER_BYTES = 2_000_000
"""Of audio in one answer, as base64, unless one item alone is more. What is under way to a caller who goes away without
a word is lost, so an answer is not as long as it could be."""
SESSIONS = 256
"""Ways through jobs that are kept between polls; a poll without one reads the job again from its first chunk."""

SOON_S = 0.02
"""Seconds until the first look at whether an answer that is on its way has left; then twice as long each time."""


class StreamItem(msgspec.Struct, frozen=True):
    """As RunPod wraps what a handler yields."""

    output: StreamOutput


class StreamPage(msgspec.Struct, frozen=True):
    """The answer of `/stream`; `stream` is always there."""

    status: str
    stream: tuple[StreamItem, ...] = ()
    error: str | UnsetType = UNSET


class Reading(msgspec.Struct, frozen=True):
    """A page, and the sending that its items make; None where nothing is given out."""

    page: StreamPage
    sending: Sending | None = None


class _Session:
    """A way through a job, and the items made of it that nobody was given yet."""

    def __init__(self, following: Following) -> None:
        self.following = following
        self.told_by = _teller(following.job)
        self.begin = 0  # number of the first item in `items`
        self.items: list[StreamOutput] = []
        self.size = 0  # characters of their audio
        self.lock = asyncio.Lock()

    def add(self, items: list[StreamOutput]) -> None:
        """Keep what was made."""
        self.items += items
        self.size += sum(len(item.audio_base64) for item in items)

    def forget(self, before: int) -> None:
        """Let go of items below this number: somebody was given them."""
        drop = max(0, min(before - self.begin, len(self.items)))
        self.size -= sum(len(item.audio_base64) for item in self.items[:drop])
        del self.items[:drop]
        self.begin += drop

    def page(self, first: int) -> tuple[list[StreamOutput], bool]:
        """The items from `first` on that one answer may hold, and whether there may be more of them now."""
        chosen: list[StreamOutput] = []
        left = MAX_ANSWER_BYTES
        for item in self.items[first - self.begin :]:
            left -= len(item.audio_base64)
            if chosen and left < 0:
                return chosen, True
            chosen.append(item)
        return chosen, left <= 0


class Streams:
    """Serves `/stream` for all jobs of this server's callers."""

    def __init__(self, followers: Followers, store: JobStore) -> None:
        self._followers = followers
        self._store = store
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self.sendings = Sendings(store, followers.signals)

    async def read(self, job: JobRecord, start: int | None, hold_s: float, gone: asyncio.Future[None]) -> Reading:
        """What there is from item `start` on (None: from the job's cursor), waiting up to `hold_s` for the first.

        Args:
            gone: done when the caller has left; then waiting ends.
        """
        now = asyncio.get_running_loop().time
        end = now() + hold_s
        soon = SOON_S
        while True:
            with self._followers.signals.expecting(take_signal(job.id), sent_signal(job.id)) as changed:
                job = await self._store.peek(job.id) or job
                # RunPod's JavaScript client stops at the first final status, so only the last page may have one: the
                # state is looked at before the items, and a job that has more of them still goes on.
                items, more, sending = await self._look(job, start, gone)
                left = end - now()
                if items or (job.state.final and not more) or left <= 0 or gone.done():
                    state = JobState.IN_PROGRESS if more and job.state.final else job.state
                    error = job.error if job.error is not None and state.final else UNSET
                    return Reading(StreamPage(state.value, tuple(StreamItem(item) for item in items), error), sending)
                await asyncio.wait((changed,), timeout=min(left, soon if more else LOOK_S))
                soon = min(2 * soon, LOOK_S) if more else SOON_S

    async def _look(
        self, job: JobRecord, start: int | None, gone: asyncio.Future[None]
    ) -> tuple[list[StreamOutput], bool, Sending | None]:
        """Items that may leave now, whether there may be more of them, and the sending that gives them out."""
        if start is not None:
            return *await self._items(job, start), None
        if self.sendings.under_way(job):
            return [], True, None
        items, more = await self._items(job, job.stream_cursor)
        if not items:
            return items, more, None
        sending = None if gone.done() else await self.sendings.begin(job, len(items))
        return ([], True, None) if sending is None else (items, more, sending)

    async def _items(self, job: JobRecord, first: int) -> tuple[list[StreamOutput], bool]:
        """Items from `first` on, as many as an answer may hold, and whether there may be more of them now."""
        while True:
            session = await self._session(job, first)
            if session is None:
                return [], False
            async with session.lock:
                if session.begin > first:
                    continue  # somebody who is further on was here first
                session.following.job = job
                session.forget(first)
                while session.size < MAX_ANSWER_BYTES:
                    part = await session.following.next()
                    if part is None:
                        break
                    number = session.begin + len(session.items)
                    tmp = self._followers.audio.new_spool()
                    session.add(await asyncio.to_thread(items_of, part, session.following.request, number, tmp))
                    session.forget(first)
                return session.page(first)

    async def _session(self, job: JobRecord, first: int) -> _Session | None:
        session = self._sessions.get(job.id)
        if session is None or session.begin > first or session.told_by != _teller(job):
            following = await self._followers.begin(job.id)
            if following is None:
                return None
            session = self._sessions[job.id] = _Session(following)
        self._sessions.move_to_end(job.id)
        while len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return session


def _teller(job: JobRecord) -> tuple[int, str]:
    """Changes when a job is spoken anew: after `/retry`, or by a fallback."""
    return job.retries, job.backend

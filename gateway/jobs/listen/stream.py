"""`/stream`: the chunks of a job as small files, each given once, while the job is still running."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import msgspec
from msgspec import UNSET, UnsetType

from gateway.cache.hot import held_by
from gateway.clock import Clock
from gateway.jobs.listen.follow import LOOK_S, Followers, Following, take_signal
from gateway.jobs.listen.stream_handouts import Sending, Sendings, sent_signal
from gateway.jobs.listen.stream_items import StreamOutput, items_of
from storage.jobs.queue import JobStore
from storage.records import JobRecord, JobState

MAX_ANSWER_BYTES = 2_000_000
"""Of audio in one answer, as base64, unless one item alone is more. What is under way to a caller who goes away without
a word is lost, so an answer is not as long as it could be."""
SESSIONS = 4_096
"""Ways through jobs that are remembered; a poll without one reads the job again from its first chunk."""

KEEP_S = 60.0
"""Seconds after which what nobody has polled for is let go."""

TEXT_SHARE = 8
"""What a way through a job takes beside its audio, of the size of its text: the text, its plan, keys of its takes."""

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


class _Place(msgspec.Struct, frozen=True):
    """Where a chunk begins.

    Args:
        number: of its first item.
        index: of the chunk.
        samples: before it.
    """

    number: int
    index: int = 0
    samples: int = 0


class _Session:
    """A way through a job: places, and, unless it rests, the items made from there on that nobody was given yet."""

    def __init__(self, told_by: tuple[int, str]) -> None:
        self.told_by = told_by
        self.following: Following | None = None
        self.begin = 0  # number of the first item in `items`
        self.items: list[StreamOutput] = []
        self.places = [_Place(0)]  # of the chunks of `items` in order, and behind them of the chunk that comes next
        self.size = 0  # characters of their audio
        self.lock = asyncio.Lock()
        self.users = 0  # polls that read it now
        self.read_s = 0.0
        self.counted = 0  # of its bytes, in `Streams.held_bytes`

    @property
    def held_bytes(self) -> int:
        """What it holds, but for its places."""
        if self.following is None:
            return 0
        return self.size + TEXT_SHARE * held_by(self.following.request.text)

    def wake(self, following: Following, first: int) -> None:
        """Go on at the last known place that is not behind item `first`."""
        while len(self.places) > 1 and self.places[1].number <= first:
            del self.places[0]
        place = self.places[0]
        self.rest()
        self.places, self.begin, self.following = [place], place.number, following
        following.seek(place.index, place.samples)

    def rest(self) -> None:
        """Keep the places and nothing else."""
        self.following, self.items, self.size = None, [], 0

    def add(self, items: list[StreamOutput], following: Following) -> None:
        """Keep what was made of a chunk."""
        self.items += items
        self.size += sum(len(item.audio_base64) for item in items)
        self.places.append(_Place(self.begin + len(self.items), following.index, following.samples))

    def forget(self, before: int) -> None:
        """Let go of items below this number: somebody was given them."""
        drop = max(0, min(before - self.begin, len(self.items)))
        self.size -= sum(len(item.audio_base64) for item in self.items[:drop])
        del self.items[:drop]
        self.begin += drop
        while len(self.places) > 1 and self.places[1].number <= self.begin:
            del self.places[0]

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
    """Serves `/stream` for all jobs of this server's callers.

    Args:
        stream_bytes: what may be kept between polls; what was read longest ago is let go first, its place is kept.
    """

    def __init__(self, followers: Followers, store: JobStore, clock: Clock, stream_bytes: int) -> None:
        self._followers = followers
        self._store = store
        self._clock = clock
        self._most = stream_bytes
        self.held_bytes = 0
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
            session = self._session(job, first)
            session.users += 1
            try:
                async with session.lock:
                    if session.places[0].number > first:
                        continue  # somebody who is further on was here first
                    following = session.following
                    if following is None or session.begin > first:
                        following = following or await self._followers.begin(job.id)
                        if following is None:
                            return [], False
                        session.wake(following, first)
                    return await self._read(session, following, job, first)
            except BaseException:
                session.rest()  # it may stand behind a chunk that nothing was made of
                raise
            finally:
                session.users -= 1
                self._count(job.id, session)

    async def _read(
        self, session: _Session, following: Following, job: JobRecord, first: int
    ) -> tuple[list[StreamOutput], bool]:
        following.job = job
        session.forget(first)
        while session.size < MAX_ANSWER_BYTES:
            part = await following.next()
            if part is None:
                break
            number = session.begin + len(session.items)
            tmp = self._followers.audio.new_spool()
            session.add(await asyncio.to_thread(items_of, part, following.request, number, tmp), following)
            session.forget(first)
        return session.page(first)

    def _session(self, job: JobRecord, first: int) -> _Session:
        session = self._sessions.get(job.id)
        if session is None or session.places[0].number > first or session.told_by != _teller(job):
            new = self._sessions[job.id] = _Session(_teller(job))
            if session is not None:
                self._count(job.id, session)
            session = new
        session.read_s = self._clock.monotonic()
        self._sessions.move_to_end(job.id)
        while len(self._sessions) > SESSIONS:
            self._count(*self._sessions.popitem(last=False))
        return session

    def age(self) -> None:
        """Let those rest that nobody has polled for a while, and more of them while they hold more than they may."""
        unread_s = self._clock.monotonic() - KEEP_S
        for job_id, session in list(self._sessions.items()):
            if session.read_s > unread_s and self.held_bytes <= self._most:
                break
            if not session.users:
                session.rest()
                self._count(job_id, session)

    def _count(self, job_id: str, session: _Session) -> None:
        """Count what it holds; nothing, if another one has taken its place and nobody reads it any more."""
        if not session.users and self._sessions.get(job_id) is not session:
            session.rest()
        self.held_bytes += session.held_bytes - session.counted
        session.counted = session.held_bytes
        if session.counted and self.held_bytes > self._most:
            self.age()


def _teller(job: JobRecord) -> tuple[int, str]:
    """Changes when a job is spoken anew: after `/retry`, or by a fallback."""
    return job.retries, job.backend

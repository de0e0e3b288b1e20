"""Serves `/stream`: the chunks of a running job as small audio files, each delivered once."""

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
from storage.errors import translated
from storage.jobs.queue import JobStore
from storage.records import JobRecord, JobState

MAX_ANSWER_BYTES = 2_000_000
"""Maximum audio in one answer, as base64, unless one item alone is larger. Small, since an answer to a caller that
disconnects silently is lost."""
SESSIONS = 4_096
"""Maximum number of sessions; a poll without one reads the job again from its first chunk."""

KEEP_S = 60.0
"""Seconds without a poll after which a session's items are freed."""

TEXT_SHARE = 8
"""Memory of a session besides its audio, as a multiple of its text's size: the text, its plan, keys of its takes."""

SOON_S = 0.02
"""Seconds until the first check whether another poll's answer has left; the interval then doubles."""


class StreamItem(msgspec.Struct, frozen=True):
    """One item of `stream`, in RunPod's wrapping of a handler's output."""

    output: StreamOutput


class StreamPage(msgspec.Struct, frozen=True):
    """The answer of `/stream`; `stream` is always present."""

    status: str
    stream: tuple[StreamItem, ...] = ()
    error: str | UnsetType = UNSET


class Reading(msgspec.Struct, frozen=True):
    """A page, and the sending that delivers its items; None if it delivers none."""

    page: StreamPage
    sending: Sending | None = None


class _Place(msgspec.Struct, frozen=True):
    """The start of a chunk.

    Args:
        number: number of its first item.
        index: index of the chunk.
        samples: samples before it.
    """

    number: int
    index: int = 0
    samples: int = 0


class _Session:
    """The state of `/stream` for one job: the places of its chunks and, unless released, the undelivered items."""

    def __init__(self, version: tuple[int, str]) -> None:
        self.version = version
        self.following: Following | None = None
        self.begin = 0  # number of the first item in `items`
        self.items: list[StreamOutput] = []
        self.places = [_Place(0)]  # of the chunks of `items` in order, then of the next chunk
        self.size = 0  # base64 characters of `items`
        self.lock = asyncio.Lock()
        self.users = 0  # polls that read it now
        self.read_s = 0.0  # monotonic time of the last poll
        self.counted = 0  # its part of `Streams.held_bytes`

    @property
    def held_bytes(self) -> int:
        """Bytes it holds, its places not counted."""
        if self.following is None:
            return 0
        return self.size + TEXT_SHARE * held_by(self.following.request.text)

    def resume(self, following: Following, first: int) -> None:
        """Continue at the last known place at or before item `first`."""
        while len(self.places) > 1 and self.places[1].number <= first:
            del self.places[0]
        place = self.places[0]
        self.release()
        self.places, self.begin, self.following = [place], place.number, following
        following.seek(place.index, place.samples)

    def release(self) -> None:
        """Free everything but the places."""
        self.following, self.items, self.size = None, [], 0

    def add(self, items: list[StreamOutput], following: Following) -> None:
        """Keep the items made of a chunk."""
        self.items += items
        self.size += sum(len(item.audio_base64) for item in items)
        self.places.append(_Place(self.begin + len(self.items), following.index, following.samples))

    def forget(self, before: int) -> None:
        """Drop items below this number, which were delivered."""
        drop = max(0, min(before - self.begin, len(self.items)))
        self.size -= sum(len(item.audio_base64) for item in self.items[:drop])
        del self.items[:drop]
        self.begin += drop
        while len(self.places) > 1 and self.places[1].number <= self.begin:
            del self.places[0]

    def page(self, first: int) -> tuple[list[StreamOutput], bool]:
        """Return the items from `first` on that fit one answer, and whether more may be ready now."""
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
        stream_bytes: maximum bytes kept between polls; the session polled longest ago is released first, and keeps
            its place.
    """

    def __init__(self, followers: Followers, store: JobStore, clock: Clock, stream_bytes: int) -> None:
        self._followers = followers
        self._store = store
        self._clock = clock
        self._limit_bytes = stream_bytes
        self.held_bytes = 0
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self.sendings = Sendings(store, followers.signals)

    async def read(self, job: JobRecord, start: int | None, hold_s: float, gone: asyncio.Future[None]) -> Reading:
        """Return the items from `start` on (None: from the job's cursor), waiting up to `hold_s` for the first.

        Args:
            gone: completes when the caller has disconnected; the wait then ends.
        """
        now = asyncio.get_running_loop().time
        end = now() + hold_s
        soon = SOON_S
        while True:
            with self._followers.signals.expecting(take_signal(job.id), sent_signal(job.id)) as changed:
                job = await self._store.peek(job.id) or job
                # RunPod's JavaScript client stops at the first final status, so only the last page may have one: the
                # state is read before the items, and a finished job with more items is shown as IN_PROGRESS.
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
        """Return the items to send now, whether more may be ready, and the sending that delivers them."""
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
        """Return the items from `first` on that fit one answer, and whether more may be ready now."""
        while True:
            session = self._session(job, first)
            session.users += 1
            try:
                async with session.lock:
                    if session.places[0].number > first:
                        continue  # a poll with a later `first` dropped the place meanwhile
                    following = session.following
                    if following is None or session.begin > first:
                        following = following or await self._followers.begin(job.id)
                        if following is None:
                            return [], False
                        session.resume(following, first)
                    return await self._read(session, following, job, first)
            except BaseException:
                session.release()  # its following may be past a chunk whose items were not made
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
            audio = self._followers.audio
            with translated(str(audio.root)):  # the encoder writes its spool there and raises the disk's OSError
                items = await asyncio.to_thread(items_of, part, following.request, number, audio.spools.new())
            session.add(items, following)
            session.forget(first)
        return session.page(first)

    def _session(self, job: JobRecord, first: int) -> _Session:
        session = self._sessions.get(job.id)
        if session is None or session.places[0].number > first or session.version != _version(job):
            new = self._sessions[job.id] = _Session(_version(job))
            if session is not None:
                self._count(job.id, session)
            session = new
        session.read_s = self._clock.monotonic()
        self._sessions.move_to_end(job.id)
        while len(self._sessions) > SESSIONS:
            self._count(*self._sessions.popitem(last=False))
        return session

    def age(self) -> None:
        """Release sessions without a poll for `KEEP_S`, and more while they hold more bytes than allowed."""
        unread_s = self._clock.monotonic() - KEEP_S
        for job_id, session in list(self._sessions.items()):
            if session.read_s > unread_s and self.held_bytes <= self._limit_bytes:
                break
            if not session.users:
                session.release()
                self._count(job_id, session)

    def _count(self, job_id: str, session: _Session) -> None:
        """Update the count of its bytes; release it first if it was replaced and no poll reads it."""
        if not session.users and self._sessions.get(job_id) is not session:
            session.release()
        self.held_bytes += session.held_bytes - session.counted
        session.counted = session.held_bytes
        if session.counted and self.held_bytes > self._limit_bytes:
            self.age()


def _version(job: JobRecord) -> tuple[int, str]:
    """Return the version of a job's audio; it changes with `/retry` and with a fallback."""
    return job.retries, job.backend

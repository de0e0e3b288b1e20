"""`/stream`: the chunks of a job as small files, each given once, while the job is still running."""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from gateway.jobs.follow import LOOK_S, Followers, Following, take_signal
from gateway.jobs.output import MIMETYPES
from gateway.speech.encode import open_encoder
from gateway.speech.reader import Part
from gateway.speech.request import SpeechRequest
from storage.jobs import JobStore
from storage.records import JobRecord, JobState

MAX_ITEM_BYTES = 1_000_000
MAX_ANSWER_BYTES = 8_000_000
HEADER_BYTES = 1_000
SESSIONS = 256
"""Ways through jobs that are kept between polls; a poll without one reads the job again from its first chunk."""

COMPRESSED = ("mp3", "opus", "aac")


class StreamOutput(msgspec.Struct, frozen=True):
    """One piece of a job's audio: a file of its own. Joined in order the pieces are the whole."""

    index: int
    text: str
    audio_base64: str
    mimetype: str
    start_ms: int
    end_ms: int


class StreamItem(msgspec.Struct, frozen=True):
    """As RunPod wraps what a handler yields."""

    output: StreamOutput


class StreamPage(msgspec.Struct, frozen=True):
    """The answer of `/stream`; `stream` is always there."""

    status: str
    stream: tuple[StreamItem, ...] = ()
    error: str | UnsetType = UNSET


class _Session:
    """A way through a job, and the items made of it that nobody was given yet."""

    def __init__(self, following: Following) -> None:
        self.following = following
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


class Streams:
    """Serves `/stream` for all jobs of this server's callers."""

    def __init__(self, followers: Followers, store: JobStore) -> None:
        self._followers = followers
        self._store = store
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._moving: dict[str, int] = {}

    async def read(
        self, job: JobRecord, start: int | None, hold_s: float, gone: asyncio.Event
    ) -> tuple[StreamPage, int, int]:
        """What there is from item `start` on (None: from the job's cursor), waiting up to `hold_s` for the first.

        Args:
            gone: set when the caller has left; then waiting ends.

        Returns:
            The page, and the numbers of its first item and of the one after its last.
        """
        # The caller may ask again before the cursor it has moved is committed, or be read before and come after it.
        moving = self._moving.get(job.id, 0)
        job = await self._store.peek(job.id) or job
        first = max(job.stream_cursor, moving, self._moving.get(job.id, 0)) if start is None else start
        end = asyncio.get_running_loop().time() + hold_s
        while True:
            # RunPod's JavaScript client stops at the first final status, so only the last page may have one: the
            # state is looked at before the items, and a job that has more of them still goes on.
            job = await self._store.peek(job.id) or job
            items, more = await self._items(job.id, first)
            left = end - asyncio.get_running_loop().time()
            if items or job.state.final or left <= 0 or gone.is_set():
                state = JobState.IN_PROGRESS if more and job.state.final else job.state
                error = job.error if job.error is not None and state.final else UNSET
                page = StreamPage(state.value, tuple(StreamItem(item) for item in items), error)
                return page, first, first + len(items)
            await self._followers.signals.wait(take_signal(job.id), min(left, LOOK_S))

    async def given(self, job_id: str, first: int, after: int) -> None:
        """The items were sent: nobody is given them again, unless they ask with `from`."""
        if after > first:
            self._moving[job_id] = after
            try:
                await self._store.move_cursor(job_id, first, after)
            finally:
                if self._moving.get(job_id) == after:
                    del self._moving[job_id]

    async def _items(self, job_id: str, first: int) -> tuple[list[StreamOutput], bool]:
        """Items from `first` on, as many as an answer may hold, and whether there may be more of them now."""
        session = await self._session(job_id, first)
        if session is None:
            return [], False
        async with session.lock:
            await session.following.refresh()
            session.forget(first)
            while session.size < MAX_ANSWER_BYTES:
                part = await session.following.next()
                if part is None:
                    break
                number = session.begin + len(session.items)
                tmp = self._followers.audio.new_spool()
                session.add(await asyncio.to_thread(_encode, part, session.following.request, number, tmp))
                session.forget(first)
            more = session.size >= MAX_ANSWER_BYTES
            return session.items[first - session.begin :] if first >= session.begin else [], more

    async def _session(self, job_id: str, first: int) -> _Session | None:
        session = self._sessions.get(job_id)
        if session is None or session.begin > first:
            following = await self._followers.begin(job_id)
            if following is None:
                return None
            session = self._sessions[job_id] = _Session(following)
        self._sessions.move_to_end(job_id)
        while len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return session


def _encode(part: Part, request: SpeechRequest, number: int, tmp: Path) -> list[StreamOutput]:
    """A chunk as one file, or as several where one would be too large."""
    longest = part.pcm.size if request.format in COMPRESSED else (MAX_ITEM_BYTES - HEADER_BYTES) // 2
    begin = part.end - part.pcm.size
    items: list[StreamOutput] = []
    try:
        for offset in range(0, max(1, part.pcm.size), max(1, longest)):
            pcm = part.pcm[offset : offset + longest]
            encoder = open_encoder(request.format, tmp, part.rate, request.bitrate)
            encoder.write(pcm)
            encoder.finish()
            items.append(
                StreamOutput(
                    index=number + len(items),
                    text=part.text if offset == 0 else "",
                    audio_base64=base64.b64encode(tmp.read_bytes()).decode(),
                    mimetype=MIMETYPES[request.format],
                    start_ms=round((begin + offset) * 1000 / part.rate),
                    end_ms=round((begin + offset + pcm.size) * 1000 / part.rate),
                )
            )
    finally:
        tmp.unlink(missing_ok=True)
    return items

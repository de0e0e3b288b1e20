"""Follows a running job chunk by chunk, on any server: reads its takes, else its finished audio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from gateway.errors import InvalidInput
from gateway.jobs.model.output import words_of
from gateway.jobs.model.signals import Signals
from gateway.jobs.model.stores import Stores
from gateway.jobs.plan.planning import own_takes, plan_of
from gateway.jobs.plan.routes import Routes
from gateway.speech.request import SpeechRequest
from gateway.speech.speak.reader import ChunkAudio, Reader
from gateway.speech.speak.recut import Times, recut
from gateway.speech.speak.takes import Takes
from storage.errors import translated
from storage.records import JobRecord, JobState

LOOK_S = 0.25
"""Seconds between reads of a job that another server runs."""

_decode_request = msgspec.json.Decoder(SpeechRequest).decode


_decode_times = msgspec.json.Decoder(Times).decode


def take_signal(job_id: str) -> str:
    """Return the signal sent when a take of the job is committed."""
    return f"take {job_id}"


def fresh_signal(key: str) -> str:
    """Return the signal sent when this server has spoken a take of this key."""
    return f"fresh {key}"


class Following:
    """Reads the chunks of one job in order, for one listener.

    Args:
        fresh: also read takes that this server speaks before they are stored.
    """

    def __init__(self, followers: Followers, job: JobRecord, request: SpeechRequest, fresh: bool) -> None:
        self._followers = followers
        self._fresh = fresh
        self.request = request
        self.job = job
        self._reader: Reader | None = None
        self._planned_for: str | None = None
        self.index = 0
        """Index of the next chunk."""
        self.samples = 0
        """Samples before the next chunk and its pause."""

    async def refresh(self) -> JobRecord:
        """Read the job's row again."""
        self.job = await self._followers.store.peek(self.job.id) or self.job
        return self.job

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals sent when there may be a new chunk."""
        key = self._reader.awaited if self._fresh and self._reader is not None else None
        return (take_signal(self.job.id),) if key is None else (take_signal(self.job.id), fresh_signal(key))

    async def next(self) -> ChunkAudio | None:
        """Return the next chunk; None if it is not spoken yet, or there are no more.

        Also None if a fallback took over after the first chunk: the rest would be in another voice.
        """
        if self._planned_for not in (None, self.job.backend):
            if self.index:
                return None
            self._reader = None
        part = None
        # With `loudness` the gain of the utterance is known only when all of it is spoken.
        if self.request.loudness is None:
            reader = await self.open()
            if reader is not None and reader.index == self.index:
                part = await reader.next()
        if part is None and self.job.state is JobState.COMPLETED:
            part = await self._recut()
        if part is not None:
            self.index, self.samples = self.index + 1, part.end
        return part

    def seek(self, index: int, samples: int) -> None:
        """Continue with chunk `index`, which starts after `samples` samples of the utterance."""
        self.index, self.samples = index, samples
        if self._reader is not None:
            self._reader.seek(index, samples)

    async def open(self) -> Reader | None:
        """Plan the job and open the reader of its takes; None if its backend is not loaded here."""
        if self._reader is None:
            self._planned_for = self.job.backend
            self._reader = await self._followers.reader(self.job, self.request, self._fresh)
            if self._reader is not None:
                self._reader.seek(self.index, self.samples)
        return self._reader

    async def _recut(self) -> ChunkAudio | None:
        job = self.job
        if job.output is None or job.blob_hash is None:
            return None
        times, audio = _decode_times(job.output), self._followers.audio
        if self.index >= len(times.chunks):
            return None
        if self.request.words:
            times = msgspec.structs.replace(times, words=await words_of(job.output, audio))
        with translated(str(audio.root)):
            async with audio.local(job.blob_hash) as path:
                return await asyncio.to_thread(recut, path, self.request.format, times, self.index)


class Followers:
    """Opens followings of jobs.

    Args:
        settle: writes the pending row of a job that was answered from memory.
    """

    def __init__(
        self,
        stores: Stores,
        routes: Routes,
        takes: Takes,
        signals: Signals,
        settle: Callable[[str], Awaitable[None]],
    ) -> None:
        self.store = stores.jobs
        self.audio = stores.audio
        self._endpoints = routes.endpoints
        self._assigner = routes.assigner
        self._takes = takes
        self.signals = signals
        self._settle = settle

    async def begin(self, job_id: str, fresh: bool = False) -> Following | None:
        """Open a following from the job's first chunk; None if there is no such job, or its input was refused."""
        await self._settle(job_id)
        job = await self.store.get(job_id)
        if job is None or not job.request or not job.backend or job.error_code == InvalidInput.code:
            return None
        return Following(self, job, _decode_request(job.request), fresh)

    async def reader(self, job: JobRecord, request: SpeechRequest, fresh: bool = False) -> Reader | None:
        """Make the reader of the takes of the job's current arm; None if its backend is not loaded here."""
        offers = self._assigner.offers(request, self._endpoints.resolve(job.endpoint_id), job.tenant)
        assignment = await self._assigner.assigned(offers, job.backend)
        if assignment is None:
            return None
        planned = await plan_of(assignment, job, self._assigner)
        return Reader(
            planned.plan,
            planned.script,
            request.speed,
            self._takes,
            spoken_by=job.id if own_takes(request) else None,
            fresh=fresh,
        )

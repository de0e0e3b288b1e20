"""Speech for one listener who hears it while it is being spoken: an ordinary job, followed and encoded as it grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec

from gateway.access.principal import Principal
from gateway.errors import NotFound, SynthesisFailed, Unavailable, VoxgateError
from gateway.jobs.listen.follow import LOOK_S, Followers, Following
from gateway.jobs.model.output import MIMETYPES
from gateway.jobs.model.views import Envelope
from gateway.jobs.service import Jobs
from gateway.settings.logs import get_logger
from gateway.speech.encode.live import open_live
from gateway.speech.speak.reader import ChunkAudio
from storage.errors import StorageError
from storage.jobs.ends import JobEnds
from storage.records import JobRecord, JobState

FIRST_S = 0.2
"""Seconds of speech that are encoded before anything is sent; after that a second at a time."""

log = get_logger(__name__)


class JobEnded(Exception):
    """The job ended otherwise than COMPLETED.

    Args:
        code: of the error the job ended with, or its state.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.job_code = code


class Whole(msgspec.Struct, frozen=True):
    """Speech that was finished before anything of it was sent."""

    job_id: str
    path: Path
    mimetype: str
    size_bytes: int
    characters: int
    audio_ms: int
    warnings: tuple[tuple[str, str], ...]


class _HeardAudio(msgspec.Struct):
    backend: str
    duration_ms: int


_decode_heard = msgspec.json.Decoder(_HeardAudio).decode


class Listening:
    """Speech on its way to its one listener."""

    def __init__(
        self, live: LiveSpeech, following: Following, first: ChunkAudio, warnings: tuple[tuple[str, str], ...]
    ) -> None:
        self.warnings = warnings
        self._live = live
        self._following = following
        self._first = first
        self._backend = following.job.backend
        self._samples = 0
        self.job_id = following.job.id
        self.mimetype = MIMETYPES[following.request.format]
        self.characters = len(following.request.text)

    @property
    def audio_ms(self) -> int:
        """How much was given so far."""
        return round(self._samples * 1000 / self._first.rate)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The encoded audio, each piece as soon as its chunk is spoken.

        Raises:
            JobEnded: the job failed, or somebody ended it.
            Unavailable: the server is stopping.
            SynthesisFailed: another backend took the utterance over; half of it in another voice is no speech.
        """
        request = self._following.request
        encoder = open_live(request.format, self._first.rate, request.bitrate)
        part: ChunkAudio | None = self._first
        step = round(self._first.rate * FIRST_S)
        while part is not None:
            if part.rate != self._first.rate:
                raise SynthesisFailed("the audio's sample rate changed while it was being sent")
            self._samples += part.pcm.size
            begin = 0
            while begin < part.pcm.size:
                pcm = part.pcm[begin : begin + step]
                data = await asyncio.to_thread(encoder.encode, pcm) if encoder.in_thread else encoder.encode(pcm)
                if data:
                    yield data
                begin, step = begin + step, part.rate
            part = await self._live.next_part(self._following)
            if part is not None:
                self._same_backend()
        self._same_backend()
        data = await asyncio.to_thread(encoder.finish) if encoder.in_thread else encoder.finish()
        if data:
            yield data

    def _same_backend(self) -> None:
        job = self._following.job
        spoke = _decode_heard(job.output).backend if job.output is not None else job.backend
        if spoke != self._backend:
            raise SynthesisFailed(
                f"{self._backend} could not speak all of it and {spoke} spoke the whole instead: to hear that, send "
                f"the request again with {spoke!r} as its model"
            )


class LiveSpeech:
    """Speaks to listeners."""

    def __init__(self, jobs: Jobs, followers: Followers, ends: JobEnds) -> None:
        self._jobs = jobs
        self._followers = followers
        self._ends = ends

    async def begin(self, principal: Principal, endpoint_id: str, raw_input: bytes) -> Whole | Listening:
        """Submit, and wait for the first audio or for all of it. A caller that is cancelled takes its job with it.

        Args:
            raw_input: as `input` of the job API.

        Raises:
            InvalidInput: what was wrong, what is allowed; no job was made.
            JobEnded: the job failed before there was any audio, or somebody ended it.
            NotFound, TooManyRequests, Unavailable: see Jobs.submit.
        """
        warnings = await self._jobs.check(principal, endpoint_id, raw_input)
        view = await self._jobs.submit(principal, endpoint_id, Envelope(input=msgspec.Raw(raw_input)), "runsync")
        if view.final:
            job = await self._jobs.find(principal, endpoint_id, view.id)
            if job.state is not JobState.COMPLETED:
                raise _ended(job)
            return await self._whole(job, warnings)
        try:
            following = await self._followers.begin(view.id, fresh=True)
            if following is None:
                raise NotFound(f"job {view.id} is not kept any more")
            await following.open()
            first = await self.next_part(following)
            if first is None or following.job.state is JobState.COMPLETED:
                return await self._whole(await self._jobs.find(principal, endpoint_id, view.id), warnings)
            return Listening(self, following, first, warnings)
        except asyncio.CancelledError:
            await self.leave(principal, endpoint_id, view.id)
            raise

    async def next_part(self, following: Following) -> ChunkAudio | None:
        """The next chunk, waited for; None when there are no more.

        Raises:
            JobEnded: the job ended otherwise than COMPLETED.
            Unavailable: the server is stopping.
        """
        while True:
            with self._followers.signals.expecting(*following.signals) as news:
                known = following.job
                part = await following.next()
                if part is not None or known.state is JobState.COMPLETED:
                    return part
                if known.state.final:
                    raise _ended(known)
                if self._jobs.stopping:
                    raise Unavailable("the server is stopping; send the request again in a moment")
                # What ended meanwhile may have left more to hear: the state is read before the next look.
                if not (await following.refresh()).state.final:
                    await asyncio.wait((news,), timeout=LOOK_S)

    async def leave(self, principal: Principal, endpoint_id: str, job_id: str) -> None:
        """The listener has gone: nobody needs the job, unless others wait for the same speech."""
        if self._jobs.stopping:
            return
        try:
            if not await self._ends.led(job_id):
                await self._jobs.cancel(principal, endpoint_id, job_id)
        except (StorageError, NotFound) as error:
            log.warning("job_not_cancelled", job_id=job_id, code=error.code)

    async def _whole(self, job: JobRecord, warnings: tuple[tuple[str, str], ...]) -> Whole:
        assert job.output is not None and job.blob_hash is not None  # COMPLETED
        path, mimetype, size = await self._jobs.audio(job.blob_hash)
        return Whole(job.id, path, mimetype, size, job.chars, _decode_heard(job.output).duration_ms, warnings)


def _ended(job: JobRecord) -> JobEnded:
    code = "cancelled" if job.state is JobState.CANCELLED else VoxgateError.code
    return JobEnded(job.error or f"the job is {job.state.value}", job.error_code or code)

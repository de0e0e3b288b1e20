"""Sends speech to one listener during synthesis: follows an ordinary job and encodes its chunks as they finish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

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
from storage.files.audio import StoredAudio
from storage.jobs.ends import JobEnds
from storage.records import JobRecord, JobState

FIRST_S = 0.2
"""Seconds of speech in the first encoded piece; later pieces are one second."""

log = get_logger(__name__)


class JobEnded(Exception):
    """The job ended in a state other than COMPLETED.

    Args:
        code: the code of the job's error, or of its state.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.job_code = code


class Whole(msgspec.Struct, frozen=True):
    """Speech that was finished before its first byte was sent."""

    job_id: str
    audio: StoredAudio
    mimetype: str
    characters: int
    audio_ms: int
    warnings: tuple[tuple[str, str], ...]


class _Output(msgspec.Struct):
    backend: str
    duration_ms: int
    mimetype: str


_decode_output = msgspec.json.Decoder(_Output).decode


class Listening:
    """Speech under synthesis that is sent to its one listener."""

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
        """Milliseconds of audio encoded so far."""
        return round(self._samples * 1000 / self._first.rate)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the encoded audio, each piece as soon as its chunk is spoken.

        Raises:
            JobEnded: the job failed, or it was cancelled.
            Unavailable: the server is stopping.
            SynthesisFailed: a fallback to another backend started; the rest would be in another voice.
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
        spoke = _decode_output(job.output).backend if job.output is not None else job.backend
        if spoke != self._backend:
            raise SynthesisFailed(
                f"{self._backend} could not speak the whole text, and {spoke} spoke it instead: to get that audio, "
                f"send the request again with {spoke!r} as its model"
            )


class LiveSpeech:
    """Starts live speech and ends its jobs when listeners leave."""

    def __init__(self, jobs: Jobs, followers: Followers, ends: JobEnds) -> None:
        self._jobs = jobs
        self._followers = followers
        self._ends = ends

    async def begin(self, principal: Principal, endpoint_id: str, raw_input: bytes) -> Whole | Listening:
        """Submit a job and wait for its first audio, or for all of it. A cancel of the caller cancels the job.

        Args:
            raw_input: as `input` of the job API.

        Raises:
            InvalidInput: states what was wrong and what is allowed; no job was made.
            JobEnded: the job failed before its first audio, or it was cancelled.
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
                raise NotFound(f"job {view.id} is no longer kept")
            await following.open()
            first = await self.next_part(following)
            if first is None or following.job.state is JobState.COMPLETED:
                return await self._whole(await self._jobs.find(principal, endpoint_id, view.id), warnings)
            return Listening(self, following, first, warnings)
        except asyncio.CancelledError:
            await self.leave(principal, endpoint_id, view.id)
            raise

    async def next_part(self, following: Following) -> ChunkAudio | None:
        """Wait for the next chunk; None after the last one.

        Raises:
            JobEnded: the job ended in a state other than COMPLETED.
            Unavailable: the server is stopping.
        """
        while True:
            with self._followers.signals.expecting(*following.signals) as changed:
                known = following.job
                part = await following.next()
                if part is not None or known.state is JobState.COMPLETED:
                    return part
                if known.state.final:
                    raise _ended(known)
                if self._jobs.stopping:
                    raise Unavailable("the server is stopping; send the request again in a moment")
                # A job may end after more chunks: its state is read before the next look for a chunk.
                if not (await following.refresh()).state.final:
                    await asyncio.wait((changed,), timeout=LOOK_S)

    async def leave(self, principal: Principal, endpoint_id: str, job_id: str) -> None:
        """Cancel the job of a listener that has left, unless followers wait for the same speech."""
        if self._jobs.stopping:
            return
        try:
            if not await self._ends.has_followers(job_id):
                await self._jobs.cancel(principal, endpoint_id, job_id)
        except (StorageError, NotFound) as error:
            log.warning("job_not_cancelled", job_id=job_id, code=error.code)

    async def _whole(self, job: JobRecord, warnings: tuple[tuple[str, str], ...]) -> Whole:
        assert job.output is not None and job.blob_hash is not None  # COMPLETED
        output = _decode_output(job.output)
        audio = await self._jobs.audio(job.blob_hash)
        return Whole(job.id, audio, output.mimetype, job.chars, output.duration_ms, warnings)


def _ended(job: JobRecord) -> JobEnded:
    code = "cancelled" if job.state is JobState.CANCELLED else VoxgateError.code
    return JobEnded(job.error or f"the job is {job.state.value}", job.error_code or code)

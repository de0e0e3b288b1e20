"""Runs one claimed job, from its row to its finished audio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from backends.interface import BackendUnavailable, Voice
from gateway.engines.errors import HostStopped
from gateway.engines.registry import Engines
from gateway.errors import InvalidInput, UnsupportedText, VoxgateError, code_of
from gateway.jobs.model.attempt import Attempt, Lost
from gateway.jobs.model.server import Server
from gateway.jobs.model.stores import Stores
from gateway.jobs.plan.assign import Assignment
from gateway.jobs.plan.planning import arms_of, own_takes, plan_of
from gateway.jobs.plan.routes import Routes
from gateway.jobs.run.deadline import Deadline, DeadlineOver
from gateway.jobs.run.endings import Endings
from gateway.library.voices import lost_recording
from gateway.routing.router import refusal
from gateway.settings.logs import get_logger
from gateway.speech.encode import check_size
from gateway.speech.request import SpeechRequest
from gateway.speech.speak.speaker import Speaker
from gateway.speech.speak.take_store import JobRef
from gateway.speech.speak.utterance import SpokenUtterance, Utterance
from storage.errors import BlobMissing, StorageError, translate
from storage.records import JobState

log = get_logger("voxgate.jobs")
_decode_request = msgspec.json.Decoder(SpeechRequest).decode


class Runner:
    """Runs claimed jobs; `Endings` writes their ends."""

    def __init__(
        self,
        server: Server,
        stores: Stores,
        routes: Routes,
        engines: Engines,
        speaker: Speaker,
        endings: Endings,
    ) -> None:
        self._settings = server.settings
        self._clock = server.clock
        self._owner = server.owner
        self._leases = stores.jobs.leases
        self._audio = stores.audio
        self._routes = routes
        self._assigner = routes.assigner
        self._engines = engines
        self._speaker = speaker
        self._endings = endings

    async def run(self, run: Attempt) -> None:
        """Run the job until it has ended, was handed back or was lost. Call inside `lines_of` the job."""
        job = run.job
        try:
            await self._attempt(run)
        except asyncio.CancelledError:
            if not run.lost:
                reason = "it makes room for a job that must run alone" if run.making_room else "the server is stopping"
                await self._endings.hand_back(run, reason, count_failure=False)
        except Lost:
            log.info("lease_lost", attempt=job.attempt)
        except HostStopped:
            await self._endings.hand_back(run, "the server is stopping", count_failure=False)
        except DeadlineOver:
            await self._endings.end(run, JobState.TIMED_OUT, self._timeout_error(run), code="timed_out", by_input=False)
        except InvalidInput as error:
            await self._endings.end(run, JobState.FAILED, str(error), code=error.code, by_input=True)
        except VoxgateError as error:
            await self._endings.end(run, JobState.FAILED, str(error), code=code_of(error), by_input=False)
        except Exception as error:
            # The encoder writes its spool in the audio store's folder and raises the disk's OSError.
            translated = translate(error, str(self._settings.audio_dir))
            if isinstance(translated, StorageError):
                await self._endings.storage_failed(run, translated)
                return
            log.exception("job_crashed", attempt=job.attempt)
            await self._endings.try_later(
                run, f"internal error ({type(error).__name__}); see the server's log", code="internal"
            )

    async def _attempt(self, run: Attempt) -> None:
        job = run.job
        request = _decode_request(job.request)
        arms, assignment = await arms_of(job, request, self._routes)
        run.tried = arms.tried(job)
        refusals: list[UnsupportedText | BackendUnavailable] = []
        unable: list[str] = []  # backends that cannot speak this text
        hint = ""
        following: Assignment | None = assignment
        while following is not None:
            assignment, backend = following, following.arm.backend
            if refusals and not await self._hand_over(run, backend):
                hint = "; its fallbacks were not tried, since a part was already sent in its voice"
                break
            try:
                await self._speak(run, assignment)
                return
            except UnsupportedText as error:
                refusals.append(error)
                unable.append(backend)
                log.warning("text_unsupported", backend=backend)
            except BackendUnavailable as error:
                refusals.append(error)
                log.warning("backend_unavailable", backend=backend, reason=error.reason)
            following = await arms.next()
            if following is not None and isinstance(refusals[-1], BackendUnavailable):
                run.tried.fell_back(backend)
        if len(refusals) > 1:
            await self._hand_over(run, job.backend)  # a retry starts with the first backend again
        if isinstance(refusals[0], UnsupportedText) and (
            speakers := await asyncio.to_thread(self._assigner.speakers_of, request.text, unable)
        ):
            hint = f"{hint}; {speakers}"
        raise refusal(*refusals, hint=hint)

    async def _hand_over(self, run: Attempt, backend: str) -> bool:
        """Write the fallback's backend into the row; False if chunks were already sent, or the lease is lost."""
        run.restart()  # before the row changes: a beat in between must not write the old backend's progress
        return await self._leases.hand_over(run.job.id, self._owner, run.job.attempt, backend)

    async def _speak(self, run: Attempt, assignment: Assignment) -> None:
        job, request = run.job, assignment.request
        if request.cache == "use" and assignment.key != run.missed and await self._endings.from_cache(run, assignment):
            return
        planned = await plan_of(assignment, job, self._assigner)
        plan = planned.plan
        run.planned(len(planned.script))  # `/status` shows the number of chunks before the first take
        check_size(request.format, planned.most_samples)  # before hours of synthesis that the format cannot hold
        run.backend = assignment.arm.backend
        hosted = self._engines.get(run.backend)
        assert hosted is not None  # routing chooses loaded backends only
        for use in assignment.own_voices:
            await self._check_recording(use.voice)
        spool = self._audio.spools.new()
        utterance = Utterance(
            ref=JobRef(job.id, self._owner, job.attempt),
            tenant=job.tenant,
            rank=run.rank,
            request=request,
            plan=plan,
            script=planned.script,
            backend=assignment.arm.backend,
            rate=assignment.arm.capabilities.sample_rate,
            options=assignment.arm.options,
            chunk_rule=assignment.rule,
            own_takes=own_takes(request),
            checked=assignment.source.checks != "",
            waited_for=job.kind == "runsync",
            words=request.words and assignment.arm.capabilities.words,
        )

        deadline = self._deadline(run)

        began = self._clock.monotonic()
        try:
            async with deadline.enforced():
                spoken = await self._speaker.speak(
                    utterance, hosted.host, spool, run.timing, _AttemptProgress(run, deadline, self._endings.kept)
                )
            if assignment.own_voices:
                await self._kept(run, spoken)  # before the end: a caller may then delete the voice and its takes
            try:
                await self._endings.complete(run, assignment, spoken, began)
            finally:
                await self._kept(run, spoken)
        finally:
            await asyncio.to_thread(spool.unlink, missing_ok=True)

    async def _check_recording(self, voice: Voice) -> None:
        """Refuse an uploaded voice whose recording is lost or damaged, since a backend would use another voice.

        Raises:
            InvalidInput: names the voice.
        """
        try:
            await self._audio.size(voice.content_hash)
        except BlobMissing as error:
            raise InvalidInput(lost_recording(voice.name)) from error

    async def _kept(self, run: Attempt, spoken: SpokenUtterance) -> None:
        """Wait until the takes are stored; the finished file does not need them, so callers do not wait."""
        try:
            await spoken.kept()
        except StorageError as error:
            log.warning("takes_not_kept", code=error.code, reason=str(error))

    def _deadline(self, run: Attempt) -> Deadline:
        limit_ms = run.job.execution_timeout_ms
        total_s = None if limit_ms is None else (limit_ms - run.job.execution_ms) / 1000
        return Deadline(self._clock, run.timing, total_s, self._settings.jobs.stall_timeout_s)

    def _timeout_error(self, run: Attempt) -> str:
        done = f"{run.chunks_done} of {run.chunks_total} chunks were finished and are kept; /retry continues from there"
        if run.job.execution_timeout_ms is not None:
            return f"policy.executionTimeout of {run.job.execution_timeout_ms} ms is over: {done}"
        limit = self._settings.jobs.stall_timeout_s
        return f"no chunk was finished for {limit:g} s (VOXGATE_JOBS__STALL_TIMEOUT_S): {done}"


class _AttemptProgress:
    """Receives the events of an utterance and updates its attempt and its deadline."""

    def __init__(self, run: Attempt, deadline: Deadline, on_kept: Callable[[str], None]) -> None:
        self._run = run
        self._on_kept = on_kept
        self.took = deadline.took

    def counted(self, done: int, total: int) -> None:
        self._run.counted(done)

    def kept(self) -> None:
        self._run.kept()
        self._on_kept(self._run.job.id)

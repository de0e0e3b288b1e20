"""One claimed job, from its row to its finished audio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Literal

import msgspec

from backends.interface import BackendUnavailable, Price
from gateway.clock import Clock
from gateway.engines.errors import HostStopped
from gateway.engines.registry import Engines
from gateway.errors import InvalidInput, UnsupportedText, VoxgateError, code_of
from gateway.jobs.answers import Answers
from gateway.jobs.deadline import Deadline, DeadlineOver
from gateway.jobs.intake import Assignment, Intake
from gateway.jobs.output import OutputWarning, stored, warned
from gateway.jobs.pause import Pause
from gateway.jobs.planning import PLAN_IN_THREAD_CHARS, assignments_of, own_takes, plan_of, take_source
from gateway.jobs.retention import retained_until
from gateway.metrics import Metrics
from gateway.routing.endpoints import Endpoints
from gateway.routing.router import refusal
from gateway.settings import Settings
from gateway.settings.logs import get_logger
from gateway.speech.encode import check_size
from gateway.speech.length import most_samples
from gateway.speech.plan import Plan
from gateway.speech.request import SpeechRequest
from gateway.speech.shelf import JobRef
from gateway.speech.speaker import Speaker
from gateway.speech.timing import Timing
from gateway.speech.utterance import Spoken, Utterance
from storage.audio import AudioStore
from storage.errors import (
    StorageError,
    StorageFull,
    StorageGone,
    StorageLocked,
    StorageReadOnly,
    StorageUnavailable,
    translate,
)
from storage.jobs import JobStore
from storage.records import BlobRecord, CacheEntryRecord, Completed, Completion, JobRecord, JobState, UsageDelta

log = get_logger("voxgate.jobs")
_decode_request = msgspec.json.Decoder(SpeechRequest).decode


class Lost(Exception):
    """The lease is somebody else's, or the job has ended: whatever comes of this attempt is thrown away."""


class Run:
    """The state of one attempt that others look at: the heartbeat, the claimer, `/status`.

    Args:
        missed: the cache key under which nothing was found when the job came, a moment ago.
    """

    def __init__(self, job: JobRecord, missed: str | None = None) -> None:
        self.job = job
        self.missed = missed
        self.timing = Timing()
        self.backend = job.backend
        self.chunks_done = job.chunks_done
        self.chunks_total = job.chunks_total
        self.task: asyncio.Task[None] | None = None
        self.lost = False
        self.completed = False

    @property
    def execution_ms(self) -> int:
        """Execution over all attempts; see Timing for what is work."""
        return self.job.execution_ms + round((self.timing.worked_s() or 0.0) * 1000)

    @property
    def progress(self) -> tuple[int, int, int]:
        """What its beat tells: chunks done, chunks there are, ms of execution."""
        return self.chunks_done, self.chunks_total, self.execution_ms

    def lose(self) -> None:
        """The job is not ours any more: stop working on it."""
        self.lost = True
        if self.task is not None:
            self.task.cancel()


class Runner:
    """Runs claimed jobs and writes how they ended."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        store: JobStore,
        audio: AudioStore,
        engines: Engines,
        endpoints: Endpoints,
        intake: Intake,
        speaker: Speaker,
        answers: Answers,
        metrics: Metrics,
        owner: str,
        on_end: Callable[[JobRecord | None, tuple[str, ...]], None],
        on_kept: Callable[[str], None],
        freshen: Callable[[], Awaitable[None]],
    ) -> None:
        """`freshen` reads again what another server may have changed."""
        self._freshen = freshen
        self._settings = settings
        self._clock = clock
        self._store = store
        self._audio = audio
        self._engines = engines
        self._endpoints = endpoints
        self._intake = intake
        self._speaker = speaker
        self._answers = answers
        self._metrics = metrics
        self._owner = owner
        self._on_end = on_end
        self._on_kept = on_kept
        self._pause = Pause()

    async def run(self, run: Run) -> None:
        """Work on the job until it has ended, was handed back or was lost; inside of `lines_of` it."""
        job = run.job
        try:
            await self._attempt(run)
        except asyncio.CancelledError:
            if not run.lost:
                await self._hand_back(run, "the server is stopping", count_failure=False)
        except Lost:
            log.info("lease_lost", attempt=job.attempt)
        except HostStopped:
            await self._hand_back(run, "the server is stopping", count_failure=False)
        except DeadlineOver:
            await self._end(run, JobState.TIMED_OUT, self._timeout_error(run), "timed_out", by_input=False)
        except InvalidInput as error:
            await self._end(run, JobState.FAILED, str(error), error.code, by_input=True)
        except VoxgateError as error:
            await self._end(run, JobState.FAILED, str(error), code_of(error), by_input=False)
        except Exception as error:
            # The encoder writes its spool in the audio store's folder, and says what the disk says.
            meant = translate(error, str(self._settings.audio_dir))
            if isinstance(meant, StorageError):
                await self._storage_failed(run, meant)
                return
            log.exception("job_crashed", attempt=job.attempt)
            await self._try_later(run, f"internal error ({type(error).__name__}); see the server's log", "internal")

    async def _attempt(self, run: Run) -> None:
        job = run.job
        request = _decode_request(job.request)
        endpoint = self._endpoints.resolve(job.endpoint_id)
        assignments = await assignments_of(job, request, endpoint, self._intake, self._freshen)
        refusals: list[UnsupportedText | BackendUnavailable] = []
        unable: list[str] = []  # to speak the text, whatever else they speak
        hint = ""
        for assignment in assignments:
            backend = assignment.arm.backend
            if refusals and not await self._hand_over(run, backend):
                hint = "; its fallbacks were not asked, since some of it was already given out in its voice"
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
        if len(refusals) > 1:
            await self._hand_over(run, job.backend)  # a retry begins with the one that was meant
        if isinstance(refusals[0], UnsupportedText) and (who := self._intake.who_else(request.text, unable)):
            hint = f"{hint}; {who}"
        raise refusal(*refusals, hint=hint)

    async def _hand_over(self, run: Run, backend: str) -> bool:
        """Let another backend begin anew; False when half of it would be in another voice, or the lease is lost."""
        if not await self._store.hand_over(run.job.id, self._owner, run.job.attempt, backend):
            return False
        run.chunks_done = 0
        return True

    async def _speak(self, run: Run, assignment: Assignment) -> None:
        job, request = run.job, assignment.request
        if request.cache == "use" and assignment.key != run.missed and await self._from_cache(run, assignment):
            return
        plan = await plan_of(assignment)
        run.chunks_total = len(plan.speaks)  # those who ask before the first take hear how many there will be
        await _check_size(plan, assignment)
        run.backend = assignment.arm.backend
        hosted = self._engines.get(run.backend)
        assert hosted is not None  # routing chose among those there are
        spool = self._audio.new_spool()
        utterance = Utterance(
            ref=JobRef(job.id, self._owner, job.attempt),
            tenant=job.tenant,
            low_priority=job.low_priority,
            request=request,
            plan=plan,
            source=take_source(assignment, job.id),
            rate=assignment.arm.capabilities.sample_rate,
            voice=assignment.arm.voice,
            options=assignment.arm.options,
            chunk_rule=assignment.rule,
            own_takes=own_takes(request),
            own_voice=assignment.arm.uploaded,
            waited_for=job.kind == "runsync",
        )

        deadline = self._deadline(run)

        def on_take(done: int, total: int) -> None:
            run.chunks_done, run.chunks_total = done, total
            deadline.took()

        began = time.monotonic()
        try:
            async with deadline.enforced():
                spoken = await self._speaker.speak(
                    utterance, hosted.host, spool, run.timing, on_take, lambda: self._on_kept(job.id)
                )
            if assignment.arm.uploaded:
                await self._kept(run, spoken)  # who hears of the end may delete the voice, and with it all it spoke
            try:
                await self._complete(run, assignment, plan, spoken, began)
            finally:
                await self._kept(run, spoken)
        finally:
            await asyncio.to_thread(spool.unlink, missing_ok=True)

    async def _kept(self, run: Run, spoken: Spoken) -> None:
        """Takes are stored after the finished file, which does not need them; a caller does not wait for them."""
        try:
            await spoken.kept()
        except StorageError as error:
            log.warning("takes_not_kept", code=error.code, reason=str(error))

    async def _settled(self, run: Run, blob: BlobRecord) -> None:
        """The row is there: drop the spool, which answers could be read from had a sweeper taken the file."""
        try:
            await self._audio.settle(blob)
        except StorageError as error:
            log.warning("file_not_settled", code=error.code, reason=str(error))

    def _deadline(self, run: Run) -> Deadline:
        limit_ms = run.job.execution_timeout_ms
        total_s = None if limit_ms is None else (limit_ms - run.job.execution_ms) / 1000
        return Deadline(run.timing, total_s, self._settings.jobs.stall_timeout_s)

    def _timeout_error(self, run: Run) -> str:
        done = f"{run.chunks_done} of {run.chunks_total} chunks were finished and are kept; /retry goes on from there"
        if run.job.execution_timeout_ms is not None:
            return f"policy.executionTimeout of {run.job.execution_timeout_ms} ms is over: {done}"
        limit = self._settings.jobs.stall_timeout_s
        return f"no chunk was finished for {limit:g} s (VOXGATE_JOBS__STALL_TIMEOUT_S): {done}"

    async def _complete(self, run: Run, assignment: Assignment, plan: Plan, spoken: Spoken, began: float) -> None:
        job, request, arm = run.job, assignment.request, assignment.arm
        now = self._clock.now_ms()
        delay_ms, execution_ms = self._times(run)
        encoded = spoken.rendered.encoded
        blob = await self._audio.put_file(encoded.path, f".{request.format}")
        audio_ms = round(encoded.samples * 1000 / encoded.rate)
        cost = _cost(arm.capabilities.price, plan.chars, audio_ms) if spoken.chunks_spoken else 0.0
        sound_warnings = tuple(OutputWarning(code, message) for code, message in spoken.warnings)
        own_warnings = tuple(OutputWarning(code, message) for code, message in assignment.warnings)
        output, hit = stored(
            mimetype=encoded.mimetype,
            samples=encoded.samples,
            sample_rate=encoded.rate,
            cache_key=assignment.key,
            generation_time_ms=round((time.monotonic() - began) * 1000),
            backend=arm.backend,
            voice=arm.voice.name,
            cost_usd=cost,
            chunks=spoken.rendered.chunks,
            warnings=sound_warnings,
            own_warnings=own_warnings,
            takes_retried=spoken.takes_retried,
        )
        entry = None
        if request.cache != "off":
            entry = CacheEntryRecord(
                key=assignment.key,
                scope=assignment.source.scope,
                tenant=job.tenant,
                backend=arm.backend,
                revision=arm.revision,
                voice=arm.voice.name,
                format=request.format,
                blob_hash=blob.hash,
                size_bytes=blob.size_bytes,
                output=hit,
                created_ms=now,
                last_used_ms=now,
                voice_hash=arm.voice.content_hash if arm.uploaded else None,
            )
        done = await self._store.complete(
            job.id,
            self._owner,
            job.attempt,
            Completion(
                output=output,
                follower_output=warned(hit, assignment.warnings),  # they asked the same of the same arm
                blob=blob,
                cache_entry=entry,
                cache_key=assignment.key,
                delay_ms=delay_ms,
                execution_ms=execution_ms,
                backend=arm.backend,
                worker_id=self._owner,
                usage=UsageDelta(
                    characters=job.chars, audio_ms=audio_ms, jobs=1, cost_micro_usd=round(cost * 1_000_000)
                ),
                now=now,
            ),
        )
        self._pause.over()
        if not done.ok:
            await self._settled(run, blob)
            raise Lost
        self._answers.forget([assignment.key])  # a refresh has replaced it
        self._metrics.audio_seconds.labels(arm.backend).inc(audio_ms / 1000)
        self._metrics.engine_seconds.labels(arm.backend).inc(spoken.engine_s)
        self._metrics.job_delay_seconds.observe(delay_ms / 1000)
        self._metrics.job_execution_seconds.observe(execution_ms / 1000)
        finished = msgspec.structs.replace(
            job,
            state=JobState.COMPLETED,
            output=output,
            blob_hash=blob.hash,
            cache_key=assignment.key,
            delay_ms=delay_ms,
            execution_ms=execution_ms,
            finished_ms=now,
            retain_until_ms=retained_until(self._settings.jobs, job.kind, now),
            worker_id=self._owner,
            backend=arm.backend,
        )
        self._ended(run, finished, done, JobState.COMPLETED, arm.backend)
        await self._settled(run, blob)
        log.info(  # after those who wait for the job have gone on
            "job_ended",
            state=JobState.COMPLETED.value,
            backend=arm.backend,
            delay_ms=delay_ms,
            execution_ms=execution_ms,
            audio_ms=audio_ms,
            chunks=spoken.chunks,
            chunks_spoken=spoken.chunks_spoken,
            followers=len(done.followers),
        )

    async def _from_cache(self, run: Run, assignment: Assignment) -> bool:
        """End the job with audio that was finished while it waited, or that a fallback's arm has already."""
        found = await self._answers.find(assignment.key)
        if found is None:
            return False
        entry, _ = found
        run.timing.begin(time.monotonic())
        delay_ms, execution_ms = self._times(run)
        now = self._clock.now_ms()
        output = warned(entry.output.decode(), assignment.warnings)
        done = await self._store.complete(
            run.job.id,
            self._owner,
            run.job.attempt,
            Completion(
                output=output,
                follower_output=output,
                blob=BlobRecord(entry.blob_hash, entry.size_bytes, entry.suffix),
                cache_entry=None,
                cache_key=entry.key,
                delay_ms=delay_ms,
                execution_ms=execution_ms,
                backend=assignment.arm.backend,
                worker_id=self._owner,
                usage=UsageDelta(characters=run.job.chars, jobs=1, cache_hits=1),
                now=now,
            ),
        )
        if not done.ok:
            raise Lost
        self._answers.note_used(entry.key)
        self._metrics.cache_answers.labels("flight").inc()
        self._ended(run, None, done, JobState.COMPLETED, assignment.arm.backend)
        log.info(
            "job_ended",
            state=JobState.COMPLETED.value,
            backend=assignment.arm.backend,
            delay_ms=delay_ms,
            execution_ms=execution_ms,
            chunks_spoken=0,
            followers=len(done.followers),
        )
        return True

    def _times(self, run: Run) -> tuple[int, int]:
        """Delay and execution in ms; what is not the one is the other."""
        execution_ms = run.execution_ms
        return max(0, self._clock.now_ms() - run.job.created_ms - execution_ms), execution_ms

    async def _end(
        self, run: Run, state: Literal[JobState.FAILED, JobState.TIMED_OUT], error: str, code: str, *, by_input: bool
    ) -> None:
        delay_ms, execution_ms = self._times(run)
        done = await self._store.fail(
            run.job.id,
            self._owner,
            run.job.attempt,
            state,
            error,
            code,
            by_input,
            delay_ms=delay_ms,
            execution_ms=execution_ms,
            worker_id=self._owner,
        )
        self._ended(run, None, done, state, run.job.backend)
        if done.ok:
            log.info(
                "job_ended",
                state=state.value,
                backend=run.job.backend,
                delay_ms=delay_ms,
                execution_ms=execution_ms,
                code=code,
                followers=len(done.followers),
            )

    def _ended(self, run: Run, finished: JobRecord | None, done: Completed, state: JobState, backend: str) -> None:
        if not done.ok:
            return
        run.completed = state is JobState.COMPLETED
        endpoint = self._endpoints.label(run.job.endpoint_id)
        self._metrics.jobs_finished.labels(endpoint, backend, state.value).inc(1 + len(done.followers))
        if done.followers and finished is not None:
            self._metrics.cache_answers.labels("flight").inc(len(done.followers))
        self._on_end(finished, (run.job.id, *done.followers))

    async def _hand_back(self, run: Run, reason: str, *, count_failure: bool, delay_ms: int = 0) -> None:
        await self._store.requeue(
            run.job.id,
            self._owner,
            run.job.attempt,
            reason=reason,
            count_failure=count_failure,
            delay_ms=delay_ms,
            execution_ms=run.execution_ms,
        )
        self._on_end(None, (run.job.id,))

    async def _storage_failed(self, run: Run, error: StorageError) -> None:
        """A full disk, a folder that is gone, a locked database: not the job's fault; it waits until that is mended."""
        log.error("storage_failed", code=error.code, reason=str(error))
        if isinstance(error, StorageGone):
            with suppress(StorageError):
                await self._audio.ensure()  # perhaps only our part of it is gone
        if isinstance(error, StorageUnavailable):
            await self._hand_back_at_last(run, str(error))
        elif isinstance(error, (StorageFull, StorageReadOnly, StorageLocked, StorageGone)):
            await self._hand_back(run, str(error), count_failure=False, delay_ms=self._pause.next_ms())
        else:
            await self._try_later(run, str(error), error.code)

    async def _hand_back_at_last(self, run: Run, reason: str) -> None:
        """A database that is away cannot be told. Until it is back the lease stays ours, and goes on beating then."""
        while True:
            pause_ms = self._pause.next_ms()
            try:
                await self._hand_back(run, reason, count_failure=False, delay_ms=pause_ms)
                return
            except StorageUnavailable:
                await self._clock.sleep(pause_ms / 1000)

    async def _try_later(self, run: Run, reason: str, code: str) -> None:
        """Our own fault: back to the queue with growing pauses, until `max_attempts` in a row gave no take."""
        failures = run.job.failures + 1
        if failures >= self._settings.jobs.max_attempts:
            await self._end(run, JobState.FAILED, reason, code, by_input=False)
        else:
            await self._hand_back(run, reason, count_failure=True, delay_ms=1000 * 2**failures)


async def _check_size(plan: Plan, assignment: Assignment) -> None:
    """Refuse what its format could not hold before hours are spent on it."""
    if plan.chars <= PLAN_IN_THREAD_CHARS:
        return  # minutes, whoever speaks it
    rate = assignment.arm.capabilities.sample_rate
    samples = await asyncio.to_thread(most_samples, plan, assignment.request.speed, rate)
    check_size(assignment.request.format, samples)


def _cost(price: Price | None, chars: int, audio_ms: int) -> float:
    if price is None:
        return 0.0
    return price.usd * (chars / 1_000_000 if price.per == "million_characters" else audio_ms / 1000)

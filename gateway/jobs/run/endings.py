"""Writes the end of an attempt at a job: completed, failed, handed back, or tried again later."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Literal

import msgspec

from backends.interface import Price
from gateway.jobs.answer.answers import Answers
from gateway.jobs.model.attempt import Attempt, Lost
from gateway.jobs.model.notices import Notices
from gateway.jobs.model.output import WORDS_SUFFIX, OutputWarning, stored, warned
from gateway.jobs.model.server import Server
from gateway.jobs.model.stores import Stores
from gateway.jobs.plan.assign import Assignment
from gateway.jobs.run.pause import FIRST_S, PausesForRoom, StoragePause
from gateway.routing.endpoints import Endpoints
from gateway.settings.logs import get_logger
from gateway.speech.speak.retakes import FLAW_WARNING
from gateway.speech.speak.tally import BilledTakes
from gateway.speech.speak.utterance import SpokenUtterance
from storage.errors import (
    BlobMissing,
    StorageError,
    StorageFull,
    StorageGone,
    StorageLocked,
    StorageOutOfHandles,
    StorageReadOnly,
    StorageUnavailable,
)
from storage.records import BlobRecord, CacheEntryRecord, Completed, Completion, JobRecord, JobState, UsageDelta

log = get_logger("voxgate.jobs")


class Endings:
    """Writes the ends of attempts and notifies waiting callers."""

    def __init__(
        self, server: Server, stores: Stores, endpoints: Endpoints, answers: Answers, notices: Notices
    ) -> None:
        self._settings = server.settings
        self._clock = server.clock
        self._metrics = server.metrics
        self._owner = server.owner
        self._ends = stores.jobs.ends
        self._retention = stores.jobs.retention
        self._audio = stores.audio
        self._endpoints = endpoints
        self._answers = answers
        self._on_end = notices.ran
        self.kept = notices.kept
        self._pause = StoragePause(self._clock)
        self._no_room = PausesForRoom(self._clock)

    async def complete(self, run: Attempt, assignment: Assignment, spoken: SpokenUtterance, began: float) -> None:
        """Store the audio file, then the job's row and cache entry, then notify.

        Args:
            began: monotonic seconds when speaking began.

        Raises:
            Lost: the lease was lost before.
            StorageError: the file or the row could not be stored.
        """
        job, request, arm = run.job, assignment.request, assignment.arm
        now = self._clock.now_ms()
        delay_ms, execution_ms = self._times(run)
        encoded = spoken.rendered.encoded
        blob = await self._audio.put_file(encoded.path, f".{request.format}")
        words = spoken.rendered.words if request.words else ()
        words_file = None
        if words and len(data := msgspec.json.encode(words)) > self._settings.max_inline_words_bytes:
            [words_file] = await self._audio.put_many([data], WORDS_SUFFIX)
        audio_ms = round(encoded.samples * 1000 / encoded.rate)
        cost = _cost(arm.capabilities.price, spoken.billed)
        sound_warnings = tuple(OutputWarning(code, message) for code, message in spoken.warnings)
        own_warnings = tuple(OutputWarning(code, message) for code, message in assignment.warnings)
        output, hit = stored(
            mimetype=encoded.mimetype,
            samples=encoded.samples,
            sample_rate=encoded.rate,
            cache_key=assignment.key,
            generation_time_ms=round((self._clock.monotonic() - began) * 1000),
            backend=arm.backend,
            voice=arm.voice.name,
            cost_usd=cost,
            chunks=spoken.rendered.chunks,
            marks=spoken.rendered.marks,
            words=words if words_file is None else words_file.hash,
            warnings=sound_warnings,
            own_warnings=own_warnings,
            takes_retried=spoken.takes_retried,
        )
        entry = None
        own_hashes = {use.source.voice_hash for use in assignment.own_voices}
        # An entry is deleted with the own voice it names. It can name one, so audio of several is not cached.
        if request.cache != "off" and len(own_hashes) < 2:
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
                voice_hash=next(iter(own_hashes), None),
            )
        done = await self._ends.complete(
            job.id,
            self._owner,
            job.attempt,
            Completion(
                output=output,
                follower_output=warned(hit, assignment.warnings),  # followers have the same request and arm
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
                words=words_file,
            ),
            run.outcomes(bad_take=any(code == FLAW_WARNING for code, _ in spoken.warnings)),
        )
        blobs = (blob,) if words_file is None else (blob, words_file)
        self._pause.over()
        self._no_room.over(job.id)
        if not done.ok:
            await self._settled(*blobs)
            raise Lost
        self._answers.forget([assignment.key])  # `cache: refresh` may have replaced the entry
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
            retain_until_ms=self._retention.end(job.kind, now),
            worker_id=self._owner,
            backend=arm.backend,
        )
        self._ended(run, finished, done, JobState.COMPLETED, arm.backend)
        await self._settled(*blobs)
        # After the waiting callers were notified.
        _log_end(
            JobState.COMPLETED,
            arm.backend,
            delay_ms,
            execution_ms,
            done,
            audio_ms=audio_ms,
            chunks=spoken.chunks,
            chunks_spoken=spoken.chunks_spoken,
        )

    async def from_cache(self, run: Attempt, assignment: Assignment) -> bool:
        """Complete the job from the cache, if its entry was made meanwhile or belongs to the fallback's arm.

        Returns:
            False if there is no entry.

        Raises:
            Lost: the lease was lost before.
            StorageError: the row could not be written.
        """
        found = await self._answers.find(assignment.key, read=False)
        if found is None:
            return False
        entry, _ = found
        run.timing.begin()
        delay_ms, execution_ms = self._times(run)
        now = self._clock.now_ms()
        output = warned(entry.output.decode(), assignment.warnings)
        completion = Completion(
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
        )
        try:
            done = await self._ends.complete(run.job.id, self._owner, run.job.attempt, completion)
        except BlobMissing:  # swept between the lookup and the commit
            self._answers.forget([entry.key])
            return False
        if not done.ok:
            raise Lost
        self._answers.note_used(entry.key)
        self._metrics.cache_answers.labels("flight").inc()
        self._ended(run, None, done, JobState.COMPLETED, assignment.arm.backend)
        _log_end(JobState.COMPLETED, assignment.arm.backend, delay_ms, execution_ms, done, chunks_spoken=0)
        return True

    def _times(self, run: Attempt) -> tuple[int, int]:
        """Return delay and execution in ms; together they are the time since submission."""
        execution_ms = run.execution_ms
        return max(0, self._clock.now_ms() - run.job.created_ms - execution_ms), execution_ms

    async def end(
        self,
        run: Attempt,
        state: Literal[JobState.FAILED, JobState.TIMED_OUT],
        error: str,
        *,
        code: str,
        by_input: bool,
    ) -> None:
        """End the job as FAILED or TIMED_OUT; `by_input` ends its followers in the same way."""
        delay_ms, execution_ms = self._times(run)
        done = await self._ends.fail(
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
            tried=() if by_input else run.outcomes(failed=True),
        )
        self._ended(run, None, done, state, run.job.backend)
        if done.ok:
            _log_end(state, run.job.backend, delay_ms, execution_ms, done, code=code)

    def _ended(self, run: Attempt, finished: JobRecord | None, done: Completed, state: JobState, backend: str) -> None:
        if not done.ok:
            return
        run.completed = state is JobState.COMPLETED
        endpoint = self._endpoints.label(run.job.endpoint_id)
        self._metrics.jobs_finished.labels(endpoint, backend, state.value).inc(1 + len(done.followers))
        if done.followers and finished is not None:
            self._metrics.cache_answers.labels("flight").inc(len(done.followers))
        self._on_end(finished, (run.job.id, *done.followers))

    async def hand_back(self, run: Attempt, reason: str, *, count_failure: bool, delay_ms: int = 0) -> None:
        """Put the job back into the queue, available after `delay_ms`."""
        await self._ends.requeue(
            run.job.id,
            self._owner,
            run.job.attempt,
            reason=reason,
            count_failure=count_failure,
            delay_ms=delay_ms,
            execution_ms=run.execution_ms,
            tried=run.outcomes(failed=True) if count_failure else (),
        )
        self._on_end(None, (run.job.id,))

    async def storage_failed(self, run: Attempt, error: StorageError) -> None:
        """Hand the job back after a storage error; a full disk or a locked database counts as no failure of the job."""
        log.error("storage_failed", code=error.code, reason=str(error))
        if isinstance(error, StorageGone):
            with suppress(StorageError):
                await self._audio.ensure()  # only our subfolder may be missing
        if isinstance(error, StorageUnavailable):
            await self._hand_back_once_writable(run, str(error), self._pause.next_ms())
        elif isinstance(error, StorageFull):
            await self._hand_back_once_writable(run, str(error), self._no_room.next_ms(run.job.id))
        elif isinstance(error, (StorageReadOnly, StorageLocked, StorageGone, StorageOutOfHandles)):
            await self.hand_back(run, str(error), count_failure=False, delay_ms=self._pause.next_ms())
        else:
            await self.try_later(run, str(error), code=error.code)

    async def _hand_back_once_writable(self, run: Attempt, reason: str, delay_ms: int) -> None:
        """Hand the job back as soon as the database accepts the write; until then keep the lease, which beats on."""
        while True:
            try:
                await self.hand_back(run, reason, count_failure=False, delay_ms=delay_ms)
                return
            except (StorageUnavailable, StorageFull):
                await self._clock.sleep(FIRST_S)

    async def try_later(self, run: Attempt, reason: str, *, code: str) -> None:
        """Hand the job back after an internal error; pauses grow. After `max_attempts` without a take it fails."""
        failures = run.job.failures + 1
        if failures >= self._settings.jobs.max_attempts:
            await self.end(run, JobState.FAILED, reason, code=code, by_input=False)
        else:
            await self.hand_back(run, reason, count_failure=True, delay_ms=1000 * 2**failures)

    async def _settled(self, *blobs: BlobRecord) -> None:
        """Move files into their places, after their rows were written."""
        try:
            await self._audio.settle(*blobs)
        except StorageError as error:
            log.warning("file_not_settled", code=error.code, reason=str(error))


def _log_end(
    state: JobState, backend: str, delay_ms: int, execution_ms: int, done: Completed, **more: int | str
) -> None:
    """Log the end of a job, one line per job."""
    log.info(
        "job_ended",
        state=state.value,
        backend=backend,
        delay_ms=delay_ms,
        execution_ms=execution_ms,
        followers=len(done.followers),
        **more,
    )


def _cost(usual: Price | None, billed: Iterable[BilledTakes]) -> float:
    """Return the cost in US dollars; `usual` is the price of voices without one of their own."""
    cost = 0.0
    for takes in billed:
        price = takes.voice.price or usual
        if price is not None:
            cost += price.usd * (takes.chars / 1_000_000 if price.per == "million_characters" else takes.audio_s)
    return cost

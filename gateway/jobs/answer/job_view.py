"""Makes the API's view of a job from its row."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from gateway.clock import Clock
from gateway.jobs.answer.answers import Answers
from gateway.jobs.answer.health import HealthReport
from gateway.jobs.model.attempt import Attempt
from gateway.jobs.model.views import JobView, Progress
from storage.records import JobRecord, JobState


class _Delivery(msgspec.Struct):
    """The part of a stored request that decides how its result is delivered."""

    delivery: str | None = None


_decode_delivery = msgspec.json.Decoder(_Delivery).decode


class JobViews:
    """Makes views of jobs.

    Args:
        running: the jobs this server runs; their number of chunks is known here before it is in the row.
    """

    def __init__(self, answers: Answers, health: HealthReport, running: dict[str, Attempt], clock: Clock) -> None:
        self._answers = answers
        self._health = health
        self._running = running
        self._clock = clock

    async def view(
        self, job: JobRecord, base_url: str, encoded: bytes | None = None, place: int | None = None
    ) -> JobView:
        """Return the view of a job, with its audio if it is COMPLETED.

        Args:
            base_url: `http://host:port` the caller used, for `audio_url`.
            encoded: its audio as base64, if already read.
            place: its place in the queue, if it is known.
        """
        if not job.state.final:
            return await self._waiting(job, place)
        output: msgspec.Raw | msgspec.UnsetType = UNSET
        if job.state is JobState.COMPLETED and job.output is not None and job.blob_hash is not None:
            inline = _decode_delivery(job.request or b"{}").delivery != "url"
            output = msgspec.Raw(
                await self._answers.render(job.output.encode(), job.blob_hash, inline, base_url, encoded)
            )
        return JobView(
            id=job.id,
            status=job.state.value,
            delayTime=job.delay_ms,
            executionTime=job.execution_ms,
            workerId=job.worker_id or UNSET,
            output=output,
            error=job.error if job.error is not None and job.state is not JobState.COMPLETED else UNSET,
            retries=job.retries or UNSET,
        )

    async def _waiting(self, job: JobRecord, place: int | None) -> JobView:
        delay_ms = max(0, self._clock.now_ms() - job.created_ms)
        if job.state is JobState.IN_QUEUE:
            reason = await self._health.reason(job, place)
            return JobView(
                id=job.id, status=job.state.value, delayTime=delay_ms, reason=reason, retries=job.retries or UNSET
            )
        run = self._running.get(job.id)
        total = job.chunks_total if run is None else run.chunks_total
        # From the row at every server, so that it never falls, even if a server dies.
        done = min(job.chunks_done, total)
        return JobView(
            id=job.id,
            status=job.state.value,
            workerId=job.owner or UNSET,
            reason=(run is not None and self._health.held_up(run)) or UNSET,
            progress=Progress(done, total) if total else UNSET,
            retries=job.retries or UNSET,
        )

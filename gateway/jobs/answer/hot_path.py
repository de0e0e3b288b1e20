"""The hot path: answers a cached `/runsync` from memory, without waiting for anything.

The part that all hits of one input share is prepared once: the row without id and times, the answer without id and
audio. A hit then needs a new id, a row handed to the write-behind, two counters and one join of bytes. Its usage is
counted when its row is written.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any

import msgspec

from gateway.access.principal import Principal
from gateway.cache.hot import HotTier, beside, held_by
from gateway.errors import NotFound
from gateway.jobs.answer.answers import Answers
from gateway.jobs.answer.write_behind import WriteBehind
from gateway.jobs.model.ids import job_id
from gateway.jobs.model.output import MIMETYPES, CacheEntry
from gateway.jobs.model.server import Server
from gateway.jobs.plan.assign import Choice
from gateway.jobs.plan.routes import Routes
from gateway.routing.endpoints import Endpoint
from gateway.routing.router import REFUSALS
from storage.records import JobRecord

PREPARED_SHARE = 16
RAW_SHARE = 8
"""Share of decoded audio, kept besides its base64: decoding 20 KB costs as much as the rest of an answer."""

OVERHEAD_BYTES = 4_000
RAW_OVERHEAD_BYTES = 300

_replace = msgspec.structs.replace


class Prepared(msgspec.Struct, frozen=True):
    """An answer without its id and its audio; the audio stays in `Answers`, which counts its bytes.

    Args:
        until_ms: wall time from which its signed address would differ.
        job: the template of a hit's row; only id and times differ.
        ttl_ms: from a job's creation to `expires_at_ms`.
        keep_ms: from a job's end to `retain_until_ms`.
        before: bytes of the answer between id and audio; `after`: bytes after the audio.
        inline: whether the audio is in the answer.
        finished: the counter of finished jobs to increment.
    """

    key: str
    entry: CacheEntry
    until_ms: int
    job: JobRecord
    ttl_ms: int
    keep_ms: int
    before: bytes
    inline: bool
    after: bytes
    finished: Any
    warnings: tuple[tuple[str, str], ...]

    @property
    def size_bytes(self) -> int:
        """Bytes it holds."""
        job = self.job
        return held_by(self.before, self.after, self.entry.output, job.request, job.output) + OVERHEAD_BYTES


class HotAudio(msgspec.Struct, frozen=True):
    """Finished audio from memory, and the id of the job it answers."""

    job_id: str
    mimetype: str
    data: bytes
    warnings: tuple[tuple[str, str], ...]


class HotPath:
    """Answers from memory. Used only on the event loop.

    Args:
        finish: makes the row of a finished job.
    """

    def __init__(
        self,
        server: Server,
        routes: Routes,
        answers: Answers,
        write_behind: WriteBehind,
        finish: Callable[[Principal, Endpoint, Choice, CacheEntry], JobRecord],
    ) -> None:
        metrics, hot_bytes = server.metrics, server.settings.cache.hot_bytes
        self._clock = server.clock
        self._endpoints = routes.endpoints
        self._assigner = routes.assigner
        self._answers = answers
        self._write_behind = write_behind
        self._metrics = metrics
        self._finish = finish
        self._hot = metrics.cache_answers.labels("hot")
        self._prepared: HotTier[Prepared] = HotTier(beside(hot_bytes, PREPARED_SHARE))
        self._raw: HotTier[bytes] = HotTier(beside(hot_bytes, RAW_SHARE))
        metrics.hold(lambda: self._prepared.size_bytes + self._raw.size_bytes)

    def answer(
        self, principal: Principal, endpoint_id: str, raw_input: bytes | msgspec.Raw, base_url: str
    ) -> tuple[bytes, ...] | None:
        """Return the answer as JSON, in parts; None: use the ordinary path, which also reports errors.

        The audio is a part of its own, shared by all answers that are being sent, also to slow readers.
        """
        hit = self._take(principal, endpoint_id, bytes(raw_input), base_url)
        if hit is None:
            return None
        job_id, ready, encoded = hit
        return b'{"id":"', job_id.encode(), ready.before, encoded if ready.inline else b"", ready.after

    def audio(self, principal: Principal, endpoint_id: str, raw_input: bytes) -> HotAudio | None:
        """Return the audio alone; None as in `answer`."""
        hit = self._take(principal, endpoint_id, raw_input, "")
        if hit is None:
            return None
        job_id, ready, encoded = hit
        data = self._raw.get(ready.entry.blob_hash)
        if data is None:
            data = binascii.a2b_base64(encoded)
            self._raw.put(ready.entry.blob_hash, data, held_by(ready.entry.blob_hash, data) + RAW_OVERHEAD_BYTES)
        return HotAudio(job_id, MIMETYPES[ready.entry.suffix[1:]], data, ready.warnings)

    def _take(
        self, principal: Principal, endpoint_id: str, raw: bytes, base_url: str
    ) -> tuple[str, Prepared, bytes] | None:
        """Find a hit, count it and hand its row to the write-behind; return job id, answer and base64 of the audio."""
        try:
            endpoint = self._endpoints.resolve(endpoint_id)
            if self._assigner.takes_long(raw, principal.tenant):
                return None
            reading = self._assigner.read(raw, endpoint, principal.tenant)
            choice = self._assigner.choose(reading, principal.key_id)
        except (*REFUSALS, NotFound):
            return None
        name = (reading.number, choice.assignment.arm.backend, principal.key_id, base_url)
        ready = self._prepared.get(name)
        now = self._clock.now_ms()
        encoded = None if ready is None else self._holds(ready, now)
        if ready is None or encoded is None:
            made = self._prepare(principal, endpoint, choice, base_url)
            if made is None:
                self._prepared.drop(name)
                return None
            ready, encoded = made
            self._prepared.put(name, ready, ready.size_bytes + held_by(endpoint_id, base_url))
        job = _replace(
            ready.job,
            id=job_id("runsync", now),
            created_ms=now,
            started_ms=now,
            finished_ms=now,
            expires_at_ms=now + ready.ttl_ms,
            retain_until_ms=now + ready.keep_ms,
        )
        self._answers.note_used(ready.key)
        self._write_behind.add(job)
        ready.finished.inc()
        self._hot.inc()
        return job.id, ready, encoded

    def _holds(self, ready: Prepared, now: int) -> bytes | None:
        """Return the audio as base64 if the prepared answer is still valid, else None."""
        if now >= ready.until_ms:
            return None
        found = self._answers.hot(ready.key)
        return found[1] if found is not None and found[0] is ready.entry else None

    def _prepare(
        self, principal: Principal, endpoint: Endpoint, choice: Choice, base_url: str
    ) -> tuple[Prepared, bytes] | None:
        assignment = choice.assignment
        if assignment.request.cache != "use":
            return None
        found = self._answers.hot(assignment.key)
        if found is None:
            return None
        entry, encoded = found
        job = self._finish(principal, endpoint, choice, entry)
        assert job.output is not None and job.expires_at_ms is not None and job.retain_until_ms is not None
        assert job.finished_ms is not None  # set by `finish`
        inline, file = assignment.request.delivery != "url", entry.blob_hash + entry.suffix
        before, after, until_ms = self._answers.split(job.output.encode(), file, base_url, inline=inline)
        head = (
            f'","status":"{job.state.value}","delayTime":{job.delay_ms},"executionTime":{job.execution_ms},'
            f'"workerId":"{job.worker_id}","output":'
        )
        ready = Prepared(
            key=assignment.key,
            entry=entry,
            until_ms=until_ms,
            job=job,
            ttl_ms=job.expires_at_ms - job.created_ms,
            keep_ms=job.retain_until_ms - job.finished_ms,
            before=head.encode() + before,
            inline=inline,
            after=after + b"}",
            finished=self._metrics.jobs_finished.labels(
                self._endpoints.label(endpoint.id), job.backend, job.state.value
            ),
            warnings=assignment.warnings,
        )
        return ready, encoded

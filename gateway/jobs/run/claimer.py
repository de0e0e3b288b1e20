"""Claims waiting jobs and runs them, a bounded number at a time, by lane and with tenants in turn.

A job is claimed only when its backend's model is loaded, so that loading is time in the queue, with a reason, and
never execution. Jobs of a backend that cannot be loaded are claimed, and fail or fall back. Nothing is claimed while
a disk is full, since the audio could not be stored.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from gateway.clock import set_within
from gateway.engines.registry import Engines
from gateway.errors import VoxgateError
from gateway.jobs.model.attempt import Attempt
from gateway.jobs.model.server import Server
from gateway.jobs.run.heads import HeadLook
from gateway.jobs.run.isolation import Isolation
from gateway.jobs.run.runner import Runner
from gateway.jobs.run.shielded import ShieldedSteps
from gateway.jobs.run.slots import Slots
from gateway.jobs.run.turns import Turns
from gateway.settings.logs import get_logger, lines_of
from storage.errors import StorageError, StorageFull
from storage.files.free_space import FreeSpace
from storage.jobs.leases import LINES
from storage.jobs.queue import JobStore
from storage.records import Accepted, Idempotency, JobRecord, Lane, WaitingJob

POLL_S = 1.0
"""Seconds between looks at the queue without a wake-up, since other servers submit, too."""

ERROR_PAUSE_S = 1.0

log = get_logger("voxgate.jobs")


class Claimer:
    """Runs the loop that claims jobs from the queue and starts the runner on them."""

    def __init__(self, server: Server, store: JobStore, engines: Engines, runner: Runner, space: FreeSpace) -> None:
        settings, clock = server.settings, server.clock
        self._settings = settings
        self._clock = clock
        self._metrics = server.metrics
        self._owner = server.owner
        self._store = store
        self._engines = engines
        self._runner = runner
        self._space = space
        self._full = False
        self._turns = Turns()
        self._slots = Slots(settings.jobs)
        # More lines than slots: tenants that have their share already must not hide all others.
        self._heads = HeadLook(store.leases, clock, max(LINES, 2 * settings.jobs.max_running))
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._seen: tuple[list[str], list[str]] = ([], [])
        self._lines = 1
        """Number of lines with candidates at the last look."""
        self._more = set(Lane)
        """Lanes in which the last look may have left jobs that could be claimed with a free place."""
        self._looking = False
        self._promised = 0
        """Number of jobs that are being inserted and claimed in one transaction."""
        self.running: dict[str, Attempt] = {}
        self._isolation = Isolation(clock, self.running)
        self._shielded = ShieldedSteps()

    def start(self) -> None:
        """Start to claim."""
        for hosted in self._engines:
            hosted.host.changed.append(self._hosts_changed)
        self._task = asyncio.create_task(self._loop(), name="claimer")

    def wake(self) -> None:
        """Look at the queue now, since there may be a job to claim."""
        self._look.set()

    def has_place_for(self, job: JobRecord) -> bool:
        """Return whether a job could run as soon as it is inserted: a place is free, and no other job waits for it."""
        if self._stopping or self._looking or job.lane in self._more or self._look.is_set() or self._isolation.closed():
            return False
        return job.backend in self._backends()[0] and self._slots.admits(_candidate(job))

    async def accept(self, job: JobRecord, idempotency: Idempotency | None) -> JobRecord:
        """Insert a job, durably, and run it at once if it has a place.

        That saves a short job a second transaction and a look at the queue. A claimed job runs even if its caller has
        left.

        Returns:
            The job's row, or that of the earlier job with the same idempotency key.

        Raises:
            IdempotencyConflict: the key was used with another body.
        """
        return await self._shielded(self._accept(job, idempotency))

    async def _accept(self, job: JobRecord, idempotency: Idempotency | None) -> JobRecord:
        if not self.has_place_for(job):
            accepted = await self._store.insert(job, idempotency)
            self.wake()
            return accepted
        self._promised += 1
        self._hold(job)
        try:
            found = await self._store.insert_claimed(job, idempotency, self._owner)
        except (StorageError, VoxgateError):
            raise
        except Exception:  # nothing was written; insert the job unclaimed instead of refusing it
            log.exception("claim_crashed")
            found = Accepted(await self._store.insert(job, idempotency))
        finally:
            self._promised -= 1
            self._release(job.id)
        if found.claimed:
            self._begin(found.job, missed=None if found.cached else job.flight_key)
        else:
            self.wake()
        return found.job

    def _hosts_changed(self) -> None:
        """Look at the queue if a host's change altered the backends whose jobs may be claimed."""
        if self._backends() != self._seen:
            self.wake()

    async def stop(self, grace_s: float) -> None:
        """Stop claiming; let running jobs finish within `grace_s`, hand the others back."""
        self._stopping = True
        if self._task is not None:
            # Not cancelled: a claim that is being committed would leave jobs with an owner that does not run them.
            self.wake()
            await self._task
        await self._shielded.settled()
        tasks = [run.task for run in self.running.values() if run.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _loop(self) -> None:
        while not self._stopping:
            self._look.clear()
            self._looking = True
            self._heads.begin()
            try:
                while await self._claim_some():
                    pass
            except StorageError as error:
                log.error("claim_failed", code=error.code, reason=str(error))
                await self._clock.sleep(ERROR_PAUSE_S)
            except Exception:
                log.exception("claim_crashed")
                await self._clock.sleep(ERROR_PAUSE_S)
            finally:
                self._looking = False
            if not self._stopping:
                await set_within(self._look, POLL_S)

    async def _claim_some(self) -> bool:
        """Claim up to the free places; return whether another round may find more."""
        open_, closed = self._seen = self._backends()
        self._more = set(Lane)
        await self._lift()
        if self._stopping or not self._has_space() or self._isolation.alone():
            return False
        if self._isolation.look_is_due() and (found := await self._claim_suspect(open_, closed)) is not None:
            return found
        free = self._slots.free
        if free <= 0:
            return False
        for name in await self._store.leases.wanted(closed):
            # A job waits for a backend that was stopped when idle: start it.
            if (hosted := self._engines.get(name)) is not None:
                hosted.host.wake()
        # Few of each line if there are many lines: with a thousand tenants the first of each is enough.
        per_line = max(1, min(free, -(-2 * free // self._lines)))
        waiting = await self._heads.read(open_, per_line)
        lines = Counter(candidate.line for candidate in waiting)
        self._lines = max(1, len(lines))
        chosen = self._slots.choose(self._turns.order(waiting))
        if self._slots.held_up is not None:
            self._heads.stay(self._slots.held_up)
        jobs: list[JobRecord] = []
        try:
            jobs = await self._store.leases.claim([c.id for c in chosen], self._owner, self._clock.now_ms())
        finally:
            for candidate in chosen:
                self._release(candidate.id)
        claimed = {job.id for job in jobs}
        self._more = {c.lane for c in waiting if c.id not in claimed}
        self._more |= {line.lane for line, seen in lines.items() if seen >= per_line} | self._heads.partial
        if self._heads.unfinished:
            self._more = set(Lane)
        for candidate in chosen:
            if candidate.id in claimed:
                self._turns.serve(candidate)
        for job in jobs:
            self._begin(job)
        lines.subtract(candidate.line for candidate in chosen)
        exhausted = any(not left and seen for left, seen in ((lines[c.line], c.id in claimed) for c in chosen))
        # More jobs may wait behind the claimed ones, or where another server claimed first.
        return self._heads.unfinished or (bool(jobs) and (len(jobs) < len(chosen) or exhausted))

    async def _lift(self) -> None:
        """Lift low-priority jobs that run here and have a follower of normal priority, accepted at any server."""
        low = {run.job.flight_key: run for run in self.running.values() if run.can_be_lifted}
        for flight in await self._store.leases.lifted([flight for flight in low if flight is not None]):
            low[flight].lift()
            self._hold(low[flight].job, low[flight].rank.lane)

    def _hold(self, job: JobRecord, lane: Lane | None = None) -> None:
        self._slots.hold(job.id, job.tenant, job.lane if lane is None else lane, job.chars)
        self._metrics.running_bytes.set(self._slots.size_bytes)

    def _release(self, job_id: str) -> None:
        self._slots.release(job_id)
        self._metrics.running_bytes.set(self._slots.size_bytes)

    def _has_space(self) -> bool:
        """Return whether the disks have room for audio; log once when claiming pauses, and once when it resumes."""
        shortage = self._space.shortage()
        if shortage and not self._full:
            log.error("claiming_paused", code=StorageFull.code, reason=f"no space left: {shortage}")
        elif self._full and not shortage:
            log.info("claiming_resumed")
        self._full = bool(shortage)
        return not shortage

    async def _claim_suspect(self, open_: list[str], closed: list[str]) -> bool | None:
        """Claim a suspect once nothing else runs; None if no suspect waits, True if another round may find one."""
        suspects = await self._store.leases.suspects([*open_, *closed])
        for suspect in suspects:
            if suspect.backend in closed and (hosted := self._engines.get(suspect.backend)) is not None:
                hosted.host.wake()
        able = [suspect for suspect in suspects if suspect.backend in open_]
        if not able:
            self._isolation.over()
            return None
        if not self._isolation.make_room() or self._promised:
            return False
        self._isolation.over()
        self._isolation.look_again()
        for suspect in able:
            for job in await self._store.leases.claim([suspect.id], self._owner, self._clock.now_ms()):
                self._isolation.begin()
                self._begin(job)
                return False
        return True  # other servers claimed all of them

    def _begin(self, job: JobRecord, missed: str | None = None) -> None:
        earlier = self.running.get(job.id)
        if earlier is not None:
            earlier.lose()  # its lease expired, and this server claimed the job again
        run = Attempt(self._clock, job, missed)
        run.cleared = self.wake
        self.running[job.id] = run
        self._hold(job)
        run.task = asyncio.create_task(self._run(run), name=f"job {job.id}")
        self._metrics.jobs_running.set(len(self.running))

    def _backends(self) -> tuple[list[str], list[str]]:
        """Return the backends whose jobs may be claimed now, and those that must load first.

        Jobs of a backend that this server does not have are left to other servers.
        """
        open_: list[str] = []
        closed: list[str] = []
        for hosted in self._engines:
            able = hosted.host.ready or hosted.host.state().unavailable is not None
            (open_ if able else closed).append(hosted.name)
        return open_, closed

    async def _run(self, run: Attempt) -> None:
        try:
            # The task may start in this loop or inside a request; its log lines carry the job's own ids.
            with lines_of(run.job.request_id, job_id=run.job.id):
                await self._work(run)
        finally:
            if self.running.get(run.job.id) is run:
                del self.running[run.job.id]
                self._release(run.job.id)
            self._metrics.jobs_running.set(len(self.running))
            if self._more or not run.completed:  # followers of a failed job may be claimed now
                self.wake()

    async def _work(self, run: Attempt) -> None:
        try:
            await self._runner.run(run)
        except StorageError as error:
            # The end of the job could not be written. Its lease expires, and it is tried again.
            log.error("job_end_not_written", code=error.code, reason=str(error))
        except asyncio.CancelledError:
            log.info("job_stopped")
        except Exception:
            log.exception("job_end_not_written")


def _candidate(job: JobRecord) -> WaitingJob:
    return WaitingJob(job.id, job.tenant, job.chars, job.lane, job.created_ms, job.backend)

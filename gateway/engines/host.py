"""The host of one backend: queues chunks in fair order, gives them to workers that ask, and survives worker failures.

Every event (a chunk submitted, a message, a worker's death, a timer) ends in `_pump`, which looks at the whole state
and does what is due: kill, feed, start and stop workers. It runs on the event loop and never blocks.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from backends.interface import BackendUnavailable, Voice
from gateway.clock import Alarm, Clock, set_within
from gateway.engines import wire
from gateway.engines.chunk_queue import ChunkQueue
from gateway.engines.errors import ChunkPoisoned, ChunkRefused, HostStopped, failure
from gateway.engines.health import WorkerHealth
from gateway.engines.hosted_worker import HostedWorker, Phase
from gateway.engines.order import ChunkOrder, ChunkTicket
from gateway.engines.outcomes import Outcomes
from gateway.engines.process import MakeWorker
from gateway.engines.scale import Scale
from gateway.engines.state import HostState
from gateway.engines.worker_count import idle_workers, workers_needed
from gateway.settings.logs import get_logger, lines_of
from storage.records import Lane

log = get_logger("voxgate.engines")

POISON_CRASHES = 3
"""A chunk that ended this many workers while it was alone there is not tried again."""

CLOSE_S = 10.0
"""Seconds a worker may take to unload before it is killed."""

AFTER_CRASH_S = 1.0
"""Seconds until the next `_pump` after one that raised."""


class Host:
    """Runs one backend in up to `scale.max_workers` workers.

    Args:
        name: of the backend, for errors.
        revision: the revision before loading; a loaded engine with another revision stops the backend.
        concurrency: chunks one worker speaks at a time.
        make_worker: starts a worker.

    Attributes:
        changed: called (without arguments) when a worker starts, ends, loads or becomes idle.
        on_outcome: subscribers to the outcome of each chunk.
        voices: its voices, as the engine that loaded last tells them.
        on_voices: called (without arguments) when a loaded engine tells other voices.
    """

    def __init__(
        self, name: str, revision: str, concurrency: int, scale: Scale, make_worker: MakeWorker, clock: Clock
    ) -> None:
        self.name = name
        self.scale = scale
        self.changed: list[Callable[[], None]] = []
        self.on_outcome = Outcomes(name)
        self.voices: tuple[Voice, ...] = ()
        self.on_voices: list[Callable[[], None]] = []
        self._revision = revision
        self._concurrency = max(1, concurrency)
        self._make_worker = make_worker
        self._clock = clock
        self._queue = ChunkQueue()
        self._workers: list[HostedWorker] = []
        self._ids = itertools.count(1)
        self._alarm = Alarm(clock, self._pump)
        self._started = self._stopping = self._notifying = self._wanted = False
        self._health = WorkerHealth(scale.restart_s)
        self._worker_exited = asyncio.Event()

    # -- public ---------------------------------------------------------------------------------
    def start(self) -> None:
        """Load `min_workers` workers."""
        self._started = True
        self._pump()

    def wake(self) -> None:
        """Load a worker for chunks that will come soon, if none is there; a pause after a crash is kept."""
        self._wanted = not any(hosted.phase in (Phase.LOADING, Phase.READY) for hosted in self._workers)
        self._pump()

    def submit(self, order: ChunkOrder) -> ChunkTicket:
        """Queue a chunk; see ChunkTicket for how it ends. Never blocks."""
        ticket = ChunkTicket(order, self._withdraw, self._lift)
        self.on_outcome.follow(ticket)
        if self._stopping:
            ticket.end(HostStopped(f"{self.name} is stopping"))
        elif (error := self._refusal()) is not None:
            ticket.end(error)
        else:
            self._queue.push(ticket, self._clock.monotonic())
            self._pump()
        return ticket

    @property
    def ready(self) -> bool:
        """True if a worker is loaded."""
        return any(hosted.phase is Phase.READY for hosted in self._workers)

    def state(self) -> HostState:
        """Return the present state of the host."""
        return HostState.of(self._workers, len(self._queue), self._health)

    async def stop(self, grace_s: float) -> None:
        """Refuse the chunks that wait, let running chunks end within the grace, end all workers."""
        self._stopping = True
        for ticket in self._queue.drain():
            ticket.end(HostStopped(f"{self.name} is stopping"))
        deadline = self._clock.monotonic() + grace_s
        for hosted in self._workers:
            self._close(hosted)
        self._pump()
        while self._workers and (left := deadline - self._clock.monotonic()) > 0:
            self._worker_exited.clear()
            if not await set_within(self._worker_exited, left):
                break
        for hosted in list(self._workers):
            hosted.worker.kill()
        while self._workers:
            self._worker_exited.clear()
            await self._worker_exited.wait()
        self._alarm.set(None)

    def _refusal(self) -> BackendUnavailable | None:
        if self.ready and not self._health.permanent:
            return None
        return self._health.refusing(self._clock.monotonic())

    # -- chunks ---------------------------------------------------------------------------------
    def _lift(self, ticket: ChunkTicket, lane: Lane) -> None:
        """Move a chunk that waits to an earlier lane; a chunk that a worker holds goes on."""
        waited = self._queue.withdraw(ticket)
        ticket.lane = lane
        if waited:
            self._queue.push(ticket, self._clock.monotonic())
            self._pump()

    def _withdraw(self, ticket: ChunkTicket) -> None:
        """Drop a cancelled chunk from the queue, or tell its worker to."""
        if self._queue.withdraw(ticket):
            return
        for hosted in self._workers:
            if (chunk_id := hosted.chunk_id_of(ticket)) is not None:
                hosted.unacknowledged[chunk_id] = self._clock.monotonic() + self.scale.cancel_grace_s
                hosted.worker.cancel([chunk_id])
        self._pump()

    def _feed(self, hosted: HostedWorker, now: float) -> None:
        tickets: list[ChunkTicket] = []
        while len(tickets) < hosted.room and (ticket := self._queue.peek()) is not None:
            if ticket.alone and (hosted.held or tickets):
                break  # the suspect is next, but waits until the worker holds no other chunk
            self._queue.pop()
            tickets.append(ticket)
            if ticket.alone:
                hosted.solo = True
                break
        if not tickets:
            return
        chunks = []
        for ticket in tickets:
            chunk_id = next(self._ids)
            hosted.held[chunk_id] = ticket
            ticket.dispatch(now)
            chunks.append(wire.ChunkMessage(chunk_id, ticket.order.spec))
        try:
            hosted.worker.deliver(chunks)
        except Exception as error:
            log.exception("chunks_not_delivered", backend=self.name)
            for chunk in chunks:
                if (ticket := hosted.release(chunk.chunk_id)) is not None:
                    refused = f"it could not be handed to {self.name} ({type(error).__name__})"
                    ticket.end(ChunkRefused("failed", refused, False))
            return
        hosted.delivered(len(chunks), now)

    # -- workers --------------------------------------------------------------------------------
    def _open(self, now: float) -> bool:
        hosted = HostedWorker(now)
        with lines_of(None):  # later log lines of the worker do not belong to the job it was started for
            try:
                hosted.worker = self._make_worker(
                    lambda message: self._on_message(hosted, message), lambda reason: self._on_exit(hosted, reason)
                )
            except Exception as error:
                # Usually the machine cannot start another process. After any error chunks wait, with the reason.
                if not isinstance(error, OSError):
                    log.exception("worker_start_crashed", backend=self.name)
                why = error.strerror if isinstance(error, OSError) else type(error).__name__
                self._on_death(hosted, [], f"cannot start: {why}", now)
                return False
        self._workers.append(hosted)
        self._wanted = False
        self._notify()
        return True

    def _close(self, hosted: HostedWorker) -> None:
        if hosted.phase is not Phase.CLOSING:
            hosted.phase = Phase.CLOSING
            hosted.close_by = self._clock.monotonic() + CLOSE_S
            hosted.worker.close()

    def _kill(self, hosted: HostedWorker, reason: str, crash: bool) -> None:
        hosted.killed, hosted.counts_as_crash = reason, crash
        hosted.phase = Phase.DEAD
        hosted.worker.kill()

    def _on_message(self, hosted: HostedWorker, message: wire.FromWorker) -> None:
        if hosted.phase is Phase.DEAD:
            return
        hosted.heard_at = self._clock.monotonic()
        match message:
            case wire.Want(n, idle):
                hosted.wanted += n
                hosted.waits = idle
                if idle and not hosted.held:
                    hosted.load_more(False)  # an idle worker can speak, even if it did not report a share of 1
            case wire.TakeMessage():
                self._on_take(hosted, message)
            case wire.Failed(chunk_id, kind, error, retryable, retry_after_s):
                if (ticket := hosted.release(chunk_id)) is not None:
                    ticket.end(failure(kind, error, retryable, retry_after_s))
            case wire.Dropped(chunk_id):
                hosted.release(chunk_id)
            case wire.Loading(share, text):
                hosted.loading_share, hosted.loading_text = min(max(share, 0.0), 1.0), text
                self._notify()
                if hosted.loading:
                    return
                hosted.load_more(share < 1)
            case wire.WorkerReady(revision, voices):
                self._on_ready(hosted, revision, voices)
            case wire.WorkerUnavailable(reason, cure):
                hosted.unavailable = BackendUnavailable(reason, cure)
            case wire.Broken(error, where):
                # An engine's message may quote the text of a chunk, which only the caller of that chunk may read.
                hosted.broken = error if hosted.phase is Phase.LOADING else where
            case wire.Beat():
                return
        self._pump()

    def _on_take(self, hosted: HostedWorker, message: wire.TakeMessage) -> None:
        self._health.spoke()
        ticket = hosted.release(message.chunk_id)
        if ticket is not None:
            ticket.end(message.take)
        if not hosted.held:
            self._notify()

    def _on_ready(self, hosted: HostedWorker, revision: str, voices: tuple[Voice, ...]) -> None:
        hosted.loading = False
        hosted.used_at = hosted.heard_at  # idle time starts now: loading may take longer than `idle_timeout_s`
        if revision != self._revision:
            reason = f"{self.name} loaded as revision {revision!r}, but said {self._revision!r} before loading"
            self._kill(hosted, reason, crash=False)
            self._refuse_all(BackendUnavailable(reason, "restart voxgate"), permanent=True)
            return
        self._health.loaded()
        log.info(
            "worker_ready",
            backend=self.name,
            pid=hosted.worker.pid,
            load_s=round(hosted.heard_at - hosted.opened_at, 2),
        )
        if hosted.phase is Phase.LOADING:
            hosted.phase = Phase.READY
        if voices != self.voices:
            self.voices = voices
            for call in self.on_voices:
                call()
        self._notify()

    def _on_exit(self, hosted: HostedWorker, reason: str) -> None:
        self._workers.remove(hosted)
        self._worker_exited.set()
        now = self._clock.monotonic()
        held = hosted.release_all()
        if hosted.unavailable is not None:
            for ticket in held:
                ticket.end(hosted.unavailable)
            if self.ready:  # other workers run: the machine has no room for one more
                self._health.died(str(hosted.unavailable), now, while_loading=True)
            else:
                self._refuse_all(hosted.unavailable)
        elif hosted.phase is not Phase.CLOSING or held:
            self._on_death(hosted, held, hosted.killed or hosted.broken or reason, now)
        self._notify()
        self._pump()

    def _on_death(self, hosted: HostedWorker, held: list[ChunkTicket], reason: str, now: float) -> None:
        log.warning("worker_died", backend=self.name, reason=reason, loading=hosted.loading, chunks=len(held))
        if hosted.counts_as_crash:
            self._health.died(reason, now, hosted.loading)
        else:
            self._health.note(reason)
        self._requeue(held, hosted, reason)
        if self._health.cannot_load and not self.ready:
            self._refuse_all(
                BackendUnavailable(f"{self.name} could not load: {reason}", "see the log of voxgate serve")
            )

    def _requeue(self, held: list[ChunkTicket], hosted: HostedWorker, reason: str) -> None:
        """Queue the chunks of a dead worker again. Only a chunk that was alone there is certain to be the cause."""
        alone = len(held) == 1
        for ticket in held:
            if ticket.future.done():
                continue
            if hosted.counts_as_crash:
                ticket.crashes += alone
                ticket.alone = True
            if ticket.crashes >= POISON_CRASHES:
                text = f"this text ended the {self.name} worker {ticket.crashes} times: {reason}"
                ticket.end(ChunkPoisoned(text))
            elif self._stopping:
                ticket.end(HostStopped(f"{self.name} is stopping"))
            else:
                self._queue.push(ticket, self._clock.monotonic(), again=True)

    def _refuse_all(self, error: BackendUnavailable, permanent: bool = False) -> None:
        log.error("backend_unavailable", backend=self.name, reason=error.reason, cure=error.cure)
        self._health.refuse(error, self._clock.monotonic(), permanent)
        for ticket in self._queue.drain():
            ticket.end(error)
        self._notify()

    def _notify(self) -> None:
        # Listeners are called later: they may submit, and the host is not reentrant.
        if not self._notifying:
            self._notifying = True
            asyncio.get_running_loop().call_soon(self._call_listeners)

    def _call_listeners(self) -> None:
        self._notifying = False
        for call in list(self.changed):
            call()

    # -- scheduling -----------------------------------------------------------------------------
    def _pump(self) -> None:
        try:
            times = self._do_due()
        except Exception:  # without a timer the host would never look again, not even after a worker's death
            log.exception("host_crashed", backend=self.name)
            times = [self._clock.monotonic() + AFTER_CRASH_S]
        self._alarm.set(max(0.001, min(times) - self._clock.monotonic()) if times else None)

    def _do_due(self) -> list[float]:
        """Kill, feed, start and stop workers; return the times to look again."""
        now = self._clock.monotonic()
        for hosted in self._workers:
            if (reason := hosted.overdue(now, self.scale)) is not None:
                self._kill(hosted, reason, crash=not hosted.cancel_overdue(now))
        if len(self._queue):
            # The worker used last comes first: the others may then be idle long enough to be stopped.
            for hosted in sorted(self._workers, key=lambda hosted: -hosted.used_at):
                if hosted.phase is Phase.READY and hosted.room > 0:
                    self._feed(hosted, now)
        times = [*self._scale_up(now), *self._scale_down(now)]
        return [*times, *(due for hosted in self._workers if (due := hosted.due_at(self.scale)) is not None)]

    def _present(self) -> list[HostedWorker]:
        return [hosted for hosted in self._workers if hosted.phase in (Phase.LOADING, Phase.READY)]

    def _min_workers(self) -> int:
        return self.scale.min_workers if self._started else 0

    def _scale_up(self, now: float) -> list[float]:
        """Start missing workers; return the times to look again."""
        if self._stopping or self._health.permanent:
            return []
        present = self._present()
        needed, later = workers_needed(self._queue, present, self._concurrency, self.scale.max_workers, now)
        needed = max(needed, self._min_workers(), int(self._wanted))
        times = [] if later is None else [later]
        missing = min(needed, self.scale.max_workers) - len(present)
        if missing > 0 and now < self._health.not_before:
            return [*times, self._health.not_before]
        for _ in range(missing):
            if not self._open(now):
                return [*times, self._health.not_before]
        return times

    def _scale_down(self, now: float) -> list[float]:
        """Stop workers that were idle for `idle_timeout_s`; return the times at which others will have been."""
        if self._stopping or len(self._queue):
            return []
        times = []
        for hosted in idle_workers(self._workers, len(self._present()) - self._min_workers()):
            end = hosted.used_at + self.scale.idle_timeout_s
            if now >= end:
                self._close(hosted)
            else:
                times.append(end)
        return times

"""The host of one backend: lets chunks wait in fair order, feeds workers that ask, and survives what they do.

Every event (a chunk submitted, a message, a death, an alarm) ends in `_pump`, which looks at the whole state and does
what is due: feed, kill, start, stop. It runs on the event loop and never blocks.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from backends.interface import BackendUnavailable
from gateway.clock import Clock, set_within
from gateway.engines import wire
from gateway.engines.errors import ChunkPoisoned, ChunkRefused, HostStopped
from gateway.engines.fair import FairQueue, QueueEntry
from gateway.engines.health import WorkerHealth
from gateway.engines.order import ChunkOrder, TakeResult, Ticket
from gateway.engines.process import MakeWorker
from gateway.engines.scale import Scale
from gateway.engines.seat import Phase, Seat
from gateway.engines.state import HostState
from gateway.settings.logs import get_logger, lines_of
from storage.records import Lane

log = get_logger("voxgate.engines")

POISON_CRASHES = 3
"""A chunk that ended so many workers while it was alone there is not tried again."""

CLOSE_S = 10.0
"""How long a worker may take to unload before it is killed."""

AFTER_CRASH_S = 1.0
"""Seconds until the next look after one that failed by a defect of ours."""

SCALE_UP_AFTER_S = 0.2
"""Another worker is started for chunks that waited so long: one start costs more than a short sentence."""


class Host:
    """Runs one backend in up to `scale.max_workers` workers.

    Args:
        name: of the backend, for errors.
        revision: what the backend said before loading; a loaded engine that says otherwise stops the backend.
        concurrency: chunks one worker speaks at a time.
        make_worker: starts a worker.

    Attributes:
        changed: called (without arguments) whenever workers come, go, load or free up.
    """

    def __init__(
        self, name: str, revision: str, concurrency: int, scale: Scale, make_worker: MakeWorker, clock: Clock
    ) -> None:
        self.name = name
        self.scale = scale
        self.changed: list[Callable[[], None]] = []
        self._revision = revision
        self._concurrency = max(1, concurrency)
        self._make_worker = make_worker
        self._clock = clock
        self._queue: FairQueue[Ticket] = FairQueue()
        # By lane, since low chunks start no further workers; each dict has its oldest first.
        self._entries: dict[Lane, dict[Ticket, tuple[QueueEntry[Ticket], float]]] = {lane: {} for lane in Lane}
        self._seats: list[Seat] = []
        self._ids = itertools.count(1)
        self._alarm: asyncio.TimerHandle | None = None
        self._started = self._stopping = self._notifying = self._wanted = False
        self._health = WorkerHealth(scale.restart_s)
        self._gone = asyncio.Event()

    # -- what others call -----------------------------------------------------------------------
    def start(self) -> None:
        """Load `min_workers` workers."""
        self._started = True
        self._pump()

    def wake(self) -> None:
        """Somebody will want this backend soon: load one worker if there is none, after its pause if it has one."""
        self._wanted = not any(seat.phase in (Phase.LOADING, Phase.READY) for seat in self._seats)
        self._pump()

    def submit(self, order: ChunkOrder) -> Ticket:
        """Let a chunk wait for an engine; see Ticket for how it ends. Never blocks."""
        ticket = Ticket(order, self._withdraw, self._lift)
        if self._stopping:
            self._end(ticket, HostStopped(f"{self.name} is stopping"))
        elif (error := self._refusal()) is not None:
            self._end(ticket, error)
        else:
            self._enqueue(ticket)
            self._pump()
        return ticket

    @property
    def ready(self) -> bool:
        """Whether a loaded worker is there."""
        return any(seat.phase is Phase.READY for seat in self._seats)

    def state(self) -> HostState:
        """How the host is, now."""
        ready = [seat for seat in self._seats if seat.phase is Phase.READY and not seat.loads_more]
        more = [seat for seat in self._seats if seat.phase is Phase.READY and seat.loads_more]
        loading = [*more, *(seat for seat in self._seats if seat.phase is Phase.LOADING)]
        furthest = max(loading, key=lambda seat: seat.loading_share, default=None)
        return HostState(
            initializing=len(loading),
            idle=sum(not seat.held for seat in ready),
            running=sum(bool(seat.held) for seat in ready),
            unhealthy=int(self._health.failing and not self.ready),
            waiting=len(self._queue),
            loading_share=furthest.loading_share if furthest else 0.0,
            loading_text=furthest.loading_text if furthest else "",
            last_error=self._health.last_error,
            unavailable=self._health.unavailable,
            restarts=self._health.restarts,
            pids=tuple(pid for seat in self._seats if (pid := seat.worker.pid) is not None),
        )

    async def stop(self, grace_s: float) -> None:
        """Refuse what waits, let running chunks end within the grace, end all workers."""
        self._stopping = True
        for ticket in self._queue.drain():
            self._end(ticket, HostStopped(f"{self.name} is stopping"))
        self._forget_entries()
        deadline = self._clock.monotonic() + grace_s
        for seat in self._seats:
            self._close(seat)
        self._pump()
        while self._seats and (left := deadline - self._clock.monotonic()) > 0:
            self._gone.clear()
            if not await set_within(self._gone, left):
                break
        for seat in list(self._seats):
            seat.worker.kill()
        while self._seats:
            self._gone.clear()
            await self._gone.wait()
        if self._alarm:
            self._alarm.cancel()

    def _refusal(self) -> BackendUnavailable | None:
        if self.ready and not self._health.permanent:
            return None
        return self._health.refusing(self._clock.monotonic())

    # -- chunks ---------------------------------------------------------------------------------
    def _enqueue(self, ticket: Ticket, again: bool = False) -> None:
        order = ticket.order
        entry = self._queue.push(
            ticket,
            tenant=order.tenant,
            job=order.job_id,
            cost=1 if again else len(order.text),
            lane=ticket.lane,
            first=order.index == 0,
            front=again,
        )
        self._entries[ticket.lane][ticket] = (entry, self._clock.monotonic())

    def _forget_entries(self) -> None:
        for lane in self._entries.values():
            lane.clear()

    def _lift(self, ticket: Ticket, lane: Lane) -> None:
        """Somebody of an earlier lane waits for the chunk, too: what waits moves up; what an engine has goes on."""
        waiting = self._entries[ticket.lane].pop(ticket, None)
        ticket.lane = lane
        if waiting is not None:
            self._queue.withdraw(waiting[0])
            self._enqueue(ticket)
            self._pump()

    def _withdraw(self, ticket: Ticket) -> None:
        waiting = self._entries[ticket.lane].pop(ticket, None)
        if waiting is not None:
            self._queue.withdraw(waiting[0])
            return
        for seat in self._seats:
            if (chunk_id := seat.holds(ticket)) is not None:
                seat.unacknowledged[chunk_id] = self._clock.monotonic() + self.scale.cancel_grace_s
                seat.worker.cancel([chunk_id])
        self._pump()

    def _end(self, ticket: Ticket, outcome: TakeResult | BaseException) -> None:
        if ticket.future.done():
            return
        if isinstance(outcome, BaseException):
            ticket.future.set_exception(outcome)
            ticket.future.exception()  # else one that nobody waits for any more is logged, text and all
        else:
            ticket.future.set_result(outcome)

    def _feed(self, seat: Seat, now: float) -> None:
        tickets: list[Ticket] = []
        while len(tickets) < seat.room and (ticket := self._queue.peek()) is not None:
            if ticket.alone and (seat.held or tickets):
                break  # the suspect comes next, but waits until nobody can be hurt
            self._queue.pop()
            self._entries[ticket.lane].pop(ticket, None)
            tickets.append(ticket)
            if ticket.alone:
                seat.solo = True
                break
        if not tickets:
            return
        errands = []
        for ticket in tickets:
            chunk_id = next(self._ids)
            seat.held[chunk_id] = ticket
            ticket.dispatch(now)
            errands.append(_errand(chunk_id, ticket.order))
        try:
            seat.worker.deliver(errands)
        except Exception as error:
            log.exception("chunks_not_delivered", backend=self.name)
            for errand in errands:
                if (ticket := seat.release(errand.chunk_id)) is not None:
                    refused = f"it could not be handed to {self.name} ({type(error).__name__})"
                    self._end(ticket, ChunkRefused("failed", refused, False))
            return
        seat.delivered(len(errands), now)

    # -- workers --------------------------------------------------------------------------------
    def _open(self, now: float) -> bool:
        seat = Seat(now)
        with lines_of(None):  # what it says later is not about the job that it was started for
            try:
                seat.worker = self._make_worker(
                    lambda message: self._heard(seat, message), lambda reason: self._exited(seat, reason)
                )
            except Exception as error:
                # Mostly the machine has no room for another process; whatever it is, chunks wait for a reason.
                if not isinstance(error, OSError):
                    log.exception("worker_start_crashed", backend=self.name)
                why = error.strerror if isinstance(error, OSError) else type(error).__name__
                self._died(seat, [], f"cannot start: {why}", now)
                return False
        self._seats.append(seat)
        self._wanted = False
        self._notify()
        return True

    def _close(self, seat: Seat) -> None:
        if seat.phase is not Phase.CLOSING:
            seat.phase = Phase.CLOSING
            seat.close_by = self._clock.monotonic() + CLOSE_S
            seat.worker.close()

    def _kill(self, seat: Seat, reason: str, blameless: bool = False) -> None:
        seat.killed, seat.blameless = reason, blameless
        seat.phase = Phase.DEAD
        seat.worker.kill()

    def _heard(self, seat: Seat, message: wire.FromWorker) -> None:
        if seat.phase is Phase.DEAD:
            return
        seat.heard_at = self._clock.monotonic()
        match message:
            case wire.Want(n, idle):
                seat.wanted += n
                seat.waits = idle
                if idle and not seat.held:
                    seat.load_more(False)  # whatever it said: nothing keeps it from speaking
            case wire.TakeMessage():
                self._spoken(seat, message)
            case wire.Failed(chunk_id, kind, error, retryable):
                if (ticket := seat.release(chunk_id)) is not None:
                    missing = kind == "unavailable"  # to this chunk; the worker goes on with others
                    self._end(ticket, BackendUnavailable(error) if missing else ChunkRefused(kind, error, retryable))
            case wire.Dropped(chunk_id):
                seat.release(chunk_id)
            case wire.Loading(share, text):
                seat.loading_share, seat.loading_text = min(max(share, 0.0), 1.0), text
                self._notify()
                if seat.loading:
                    return
                seat.load_more(share < 1)
            case wire.WorkerReady(revision):
                self._loaded(seat, revision)
            case wire.WorkerUnavailable(reason, cure):
                seat.unavailable = BackendUnavailable(reason, cure)
            case wire.Broken(error, where):
                # An engine's message may quote what it was asked to say; only the owner of a chunk may read that.
                seat.broken = error if seat.phase is Phase.LOADING else where
            case wire.Beat():
                return
        self._pump()

    def _spoken(self, seat: Seat, message: wire.TakeMessage) -> None:
        self._health.spoke()
        ticket = seat.release(message.chunk_id)
        if ticket is not None:
            result = TakeResult(
                message.file, message.samples, message.rate, message.pcm, message.gain_db, message.warnings,
                message.engine_s, message.report,
            )  # fmt: skip
            self._end(ticket, result)
        if not seat.held:
            self._notify()

    def _loaded(self, seat: Seat, revision: str) -> None:
        seat.loading = False
        seat.used_at = seat.heard_at  # idle from now on: loading may take longer than a worker may idle
        if revision != self._revision:
            reason = f"{self.name} loaded as revision {revision!r}, but said {self._revision!r} before loading"
            self._kill(seat, reason, blameless=True)
            self._refuse_all(BackendUnavailable(reason, "restart voxgate"), permanent=True)
            return
        self._health.loaded()
        log.info(
            "worker_ready", backend=self.name, pid=seat.worker.pid, load_s=round(seat.heard_at - seat.opened_at, 2)
        )
        if seat.phase is Phase.LOADING:
            seat.phase = Phase.READY
        self._notify()

    def _exited(self, seat: Seat, reason: str) -> None:
        self._seats.remove(seat)
        self._gone.set()
        now = self._clock.monotonic()
        held = seat.take_all()
        if seat.unavailable is not None:
            for ticket in held:
                self._end(ticket, seat.unavailable)
            if self.ready:  # others run: this machine has no room for one more
                self._health.died(str(seat.unavailable), now, while_loading=True)
            else:
                self._refuse_all(seat.unavailable)
        elif seat.phase is not Phase.CLOSING or held:
            self._died(seat, held, seat.killed or seat.broken or reason, now)
        self._notify()
        self._pump()

    def _died(self, seat: Seat, held: list[Ticket], reason: str, now: float) -> None:
        log.warning("worker_died", backend=self.name, reason=reason, loading=seat.loading, chunks=len(held))
        if seat.blameless:
            self._health.note(reason)
        else:
            self._health.died(reason, now, seat.loading)
        self._judge(held, seat, reason)
        if self._health.cannot_load and not self.ready:
            self._refuse_all(
                BackendUnavailable(f"{self.name} could not load: {reason}", "see the log of voxgate serve")
            )

    def _judge(self, held: list[Ticket], seat: Seat, reason: str) -> None:
        """Chunks of a dead worker are spoken again; only one that was alone there can be the cause for certain."""
        alone = len(held) == 1
        for ticket in held:
            if ticket.future.done():
                continue
            if not seat.blameless:
                ticket.crashes += alone
                ticket.alone = True
            if ticket.crashes >= POISON_CRASHES:
                text = f"this text ended the {self.name} worker {ticket.crashes} times: {reason}"
                self._end(ticket, ChunkPoisoned(text))
            elif self._stopping:
                self._end(ticket, HostStopped(f"{self.name} is stopping"))
            else:
                self._enqueue(ticket, again=True)

    def _refuse_all(self, error: BackendUnavailable, permanent: bool = False) -> None:
        log.error("backend_unavailable", backend=self.name, reason=error.reason, cure=error.cure)
        self._health.refuse(error, self._clock.monotonic(), permanent)
        self._forget_entries()
        for ticket in self._queue.drain():
            self._end(ticket, error)
        self._notify()

    def _notify(self) -> None:
        # Later, not here: a listener may submit, and the host is in the middle of something.
        if not self._notifying:
            self._notifying = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._notifying = False
        for call in list(self.changed):
            call()

    # -- what is due ----------------------------------------------------------------------------
    def _pump(self) -> None:
        try:
            later = self._do_what_is_due()
        except Exception:  # else nobody would look again: not after an alarm, not after a worker's death
            log.exception("host_crashed", backend=self.name)
            later = [self._clock.monotonic() + AFTER_CRASH_S]
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        if later:
            pause_s = max(0.001, min(later) - self._clock.monotonic())
            self._alarm = asyncio.get_running_loop().call_later(pause_s, self._pump)

    def _do_what_is_due(self) -> list[float]:
        """Kill, feed, start and stop; when to look again."""
        now = self._clock.monotonic()
        for seat in self._seats:
            if (reason := seat.overdue(now, self.scale)) is not None:
                self._kill(seat, reason, blameless=bool(seat.unacknowledged) and seat.cancel_overdue(now))
        if len(self._queue):
            # Least idle first: the others may then idle long enough to be stopped.
            for seat in sorted(self._seats, key=lambda seat: -seat.used_at):
                if seat.phase is Phase.READY and seat.room > 0:
                    self._feed(seat, now)
        later = [*self._scale_up(now), *self._scale_down(now)]
        return [*later, *(due for seat in self._seats if (due := seat.due_at(self.scale)) is not None)]

    def _scale_up(self, now: float) -> list[float]:
        """Start what is needed; the times to look again."""
        if self._stopping or self._health.permanent:
            return []
        here = [seat for seat in self._seats if seat.phase in (Phase.LOADING, Phase.READY)]
        least = self.scale.min_workers if self._started else 0
        need = max(least, int(self._wanted))
        again: list[float] = []
        if len(self._queue):
            need = max(need, 1)
        if normal := [self._entries[lane] for lane in (Lane.SHORT, Lane.LONG) if self._entries[lane]]:
            held = sum(len(seat.held) for seat in here)
            full = min(self.scale.max_workers, -(-(held + sum(map(len, normal))) // self._concurrency))
            oldest = min(next(iter(entries.values()))[1] for entries in normal)
            if full > max(len(here), 1) and now < oldest + SCALE_UP_AFTER_S:
                again.append(oldest + SCALE_UP_AFTER_S)
                full = max(1, len(here))
            need = max(need, full)
        missing = min(need, self.scale.max_workers) - len(here)
        if missing > 0 and now < self._health.not_before:
            return [*again, self._health.not_before]
        for _ in range(missing):
            if not self._open(now):
                return [*again, self._health.not_before]
        return again

    def _scale_down(self, now: float) -> list[float]:
        """Stop workers that idled long enough; when the next one will have."""
        if self._stopping or len(self._queue):
            return []
        ready = [seat for seat in self._seats if seat.phase is Phase.READY]
        here = sum(seat.phase in (Phase.LOADING, Phase.READY) for seat in self._seats)
        spare = here - (self.scale.min_workers if self._started else 0)
        resting = [seat for seat in ready if not seat.held and not seat.loads_more]
        idle = sorted(resting, key=lambda seat: seat.used_at)[: max(0, spare)]
        again = []
        for seat in idle:
            end = seat.used_at + self.scale.idle_timeout_s
            if now >= end:
                self._close(seat)
            else:
                again.append(end)
        return again


def _errand(chunk_id: int, order: ChunkOrder) -> wire.ChunkMessage:
    return wire.ChunkMessage(
        chunk_id, order.text, order.ssml, order.voice, order.language, order.seed, order.options, order.finish,
        order.has_letters,
    )  # fmt: skip

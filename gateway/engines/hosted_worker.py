"""A worker as its host sees it: the chunks it holds and its time limits."""

from __future__ import annotations

from enum import Enum, auto

from backends.interface import BackendUnavailable
from gateway.engines.order import ChunkTicket
from gateway.engines.process import Worker
from gateway.engines.scale import Scale


class Phase(Enum):
    """The phase of a worker's life."""

    LOADING = auto()
    READY = auto()
    CLOSING = auto()  # told to unload; gets no more chunks
    DEAD = auto()  # killed; its messages are ignored until it has exited


class HostedWorker:
    """A worker, the chunks it holds, and the times by which it must answer. Times are monotonic seconds.

    Attributes:
        loading: true until the worker is ready for the first time.
        held: tickets by chunk id.
        unacknowledged: by id of each cancelled chunk it has not dropped yet, the time it must be dropped by.
        wanted: number of chunks it asked for and did not get yet.
        waits: it does nothing until chunks come.
        solo: it has a suspect of a crash, which must stay alone.
        loads_more: it was ready, and loads another model.
        used_at: when it was ready, or last got or ended a chunk.
        counts_as_crash: its end counts against the backend and the chunks it held.
    """

    worker: Worker

    def __init__(self, now: float) -> None:
        self.phase = Phase.LOADING
        self.loading = True
        self.held: dict[int, ChunkTicket] = {}
        self.unacknowledged: dict[int, float] = {}
        self.wanted = 0
        self.waits = False
        self.solo = False
        self.loads_more = False
        self.opened_at = self.heard_at = self.used_at = now
        self.close_by = 0.0
        self.loading_share = 0.0
        self.loading_text = ""
        self.killed: str | None = None
        self.broken: str | None = None
        self.counts_as_crash = True
        self.unavailable: BackendUnavailable | None = None

    @property
    def room(self) -> int:
        """Number of chunks it can get now."""
        return 0 if self.loads_more or (self.solo and self.held) else self.wanted

    def chunk_id_of(self, ticket: ChunkTicket) -> int | None:
        """Return the id of a chunk it holds; None if it does not hold it."""
        return next((chunk_id for chunk_id, held in self.held.items() if held is ticket), None)

    def delivered(self, n: int, now: float) -> None:
        """Record that it got `n` chunks."""
        self.wanted -= n
        self.waits = False
        self.opened_at = self.heard_at = self.used_at = now

    def release(self, chunk_id: int) -> ChunkTicket | None:
        """Remove a chunk that ended, by a take, a failure or a cancel."""
        self.unacknowledged.pop(chunk_id, None)
        ticket = self.held.pop(chunk_id, None)
        self.used_at = self.heard_at
        if not self.held:
            self.solo = False
        return ticket

    def load_more(self, loads_more: bool) -> None:
        """Record that loading another model began or ended. A worker that holds nothing and waits can take chunks."""
        self.loads_more = loads_more and (bool(self.held) or not self.waits)
        for ticket in self.held.values():
            ticket.hold_up(self.loads_more)

    def release_all(self) -> list[ChunkTicket]:
        """Remove and return all chunks of a worker that died."""
        self.load_more(False)
        held = list(self.held.values())
        self.held.clear()
        return held

    @property
    def _loads(self) -> bool:
        return self.phase is Phase.LOADING or self.loads_more

    def _busy(self) -> bool:
        return self.phase is Phase.LOADING or bool(self.held) or (self.phase is Phase.READY and not self.waits)

    def _silent_at(self, scale: Scale) -> float:
        return self.heard_at + (scale.load_timeout_s if self._loads else scale.chunk_timeout_s)

    def cancel_overdue(self, now: float) -> bool:
        """Return whether a cancelled chunk should have been dropped by now."""
        return any(now >= until for until in self.unacknowledged.values())

    def overdue(self, now: float, scale: Scale) -> str | None:
        """Return the reason to kill it now; None if there is none."""
        if self.phase is Phase.DEAD:
            return None
        if self.cancel_overdue(now):
            return f"did not drop a cancelled chunk within {scale.cancel_grace_s:g} s"
        if self._busy() and now >= self._silent_at(scale):
            if self._loads:
                return f"silent for {scale.load_timeout_s:g} s while loading"
            return f"silent for {scale.chunk_timeout_s:g} s while speaking"
        if self.phase is Phase.CLOSING and not self.held and now >= self.close_by:
            return "did not unload in time"
        return None

    def due_at(self, scale: Scale) -> float | None:
        """Return the next time `overdue` may give a reason; None if there is none."""
        if self.phase is Phase.DEAD:
            return None
        moments = list(self.unacknowledged.values())
        if self._busy():
            moments.append(self._silent_at(scale))
        if self.phase is Phase.CLOSING and not self.held:
            moments.append(self.close_by)
        return min(moments, default=None)

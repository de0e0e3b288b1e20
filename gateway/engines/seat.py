"""What the host knows of one worker."""

from __future__ import annotations

from enum import Enum, auto

from backends.interface import BackendUnavailable
from gateway.engines.order import Ticket
from gateway.engines.process import Worker
from gateway.engines.scale import Scale


class Phase(Enum):
    """Where a worker is in its life."""

    LOADING = auto()
    READY = auto()
    CLOSING = auto()  # told to unload; gets no more chunks
    DEAD = auto()  # killed; its exit is awaited and nothing it says counts


class Seat:
    """A worker, the chunks it holds, and the moments by which something must have happened.

    Attributes:
        held: chunks by id.
        unacknowledged: cancelled chunks it has not dropped, and until when it may take.
        solo: it speaks a suspect, which must stay alone.
        loads_more: it was loaded, and gets another model before it goes on.
        used_at: when it was loaded, or last got or ended a chunk, monotonic seconds.
        blameless: it was killed for its slowness to cancel: that says nothing about the chunks it held.
    """

    worker: Worker

    def __init__(self, now: float) -> None:
        self.phase = Phase.LOADING
        self.loading = True
        self.held: dict[int, Ticket] = {}
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
        self.blameless = False
        self.unavailable: BackendUnavailable | None = None

    @property
    def room(self) -> int:
        """Chunks it may be given now."""
        return 0 if self.loads_more or (self.solo and self.held) else self.wanted

    def holds(self, ticket: Ticket) -> int | None:
        """The id under which it has this chunk."""
        return next((chunk_id for chunk_id, held in self.held.items() if held is ticket), None)

    def delivered(self, n: int, now: float) -> None:
        """It got so many chunks."""
        self.wanted -= n
        self.waits = False
        self.opened_at = self.heard_at = self.used_at = now

    def release(self, chunk_id: int) -> Ticket | None:
        """A chunk ended, well or not."""
        self.unacknowledged.pop(chunk_id, None)
        ticket = self.held.pop(chunk_id, None)
        self.used_at = self.heard_at
        if not self.held:
            self.solo = False
        return ticket

    def load_more(self, loads_more: bool) -> None:
        """It gets another model, or is done with that. One that holds nothing and waits keeps nobody waiting."""
        self.loads_more = loads_more and (bool(self.held) or not self.waits)
        for ticket in self.held.values():
            ticket.hold_up(self.loads_more)

    def take_all(self) -> list[Ticket]:
        """Everything it held, when it died."""
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
        """Whether a cancelled chunk should have been dropped by now."""
        return any(now >= until for until in self.unacknowledged.values())

    def overdue(self, now: float, scale: Scale) -> str | None:
        """Why it must be killed now, if so."""
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
        """When to look again."""
        if self.phase is Phase.DEAD:
            return None
        moments = list(self.unacknowledged.values())
        if self._busy():
            moments.append(self._silent_at(scale))
        if self.phase is Phase.CLOSING and not self.held:
            moments.append(self.close_by)
        return min(moments, default=None)

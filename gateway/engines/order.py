"""What a host is asked to speak, what it gives back, and the slip that connects the two."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from backends.interface import Voice
from storage.records import Lane


class ChunkOrder(msgspec.Struct, frozen=True):
    """One chunk to be spoken.

    Args:
        index: the chunk's place in its job; 0 is spoken before the later chunks of its tenant.
        lane: where it waits to begin with; see `Ticket.lift`.
        options: as in the request; the worker makes the backend's `RequestOptions` of them.
        finish: what the post function needs to know, opaque here.
        has_letters: whether silence would be a wrong answer.
    """

    tenant: str
    job_id: str
    index: int
    text: str
    voice: Voice
    language: str
    seed: int
    ssml: str | None = None
    options: dict[str, Any] = {}
    lane: Lane = Lane.LONG
    finish: bytes = b""
    has_letters: bool = True


class TakeResult(msgspec.Struct, frozen=True):
    """One spoken chunk.

    Args:
        file: the take as the engine spoke it, a 16-bit audio file.
        samples: of that take.
        rate: in Hz.
        pcm: the finished take (trimmed, stretched), int16 little-endian bytes.
        gain_db: what was applied so that the take fits into 16 bits; 0.0 unless its peak was above 1.
        engine_s: seconds between the engine taking the chunk and giving its samples.
        report: what the post function has to say about the take, opaque here.
    """

    file: bytes
    samples: int
    rate: int
    pcm: bytes
    gain_db: float
    warnings: tuple[str, ...]
    engine_s: float
    report: bytes = b""


class FinishedTake(Protocol):
    """What a post function gives back; see `TakeResult` for the fields."""

    @property
    def file(self) -> bytes: ...  # noqa: D102
    @property
    def samples(self) -> int: ...  # noqa: D102
    @property
    def pcm(self) -> bytes: ...  # noqa: D102
    @property
    def gain_db(self) -> float: ...  # noqa: D102
    @property
    def report(self) -> bytes: ...  # noqa: D102


Post = Callable[[Any, int, bytes, bool], FinishedTake]
"""`post(pcm, rate, finish, has_letters)`: a module-level function, run where the engine runs."""


class Rank:
    """The lane of work under way. Lifted when somebody of an earlier lane waits for the same work."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._listeners: list[Callable[[Lane], None]] = []

    def lift(self, lane: Lane) -> None:
        """Move to an earlier lane, with all that follows; a later one changes nothing."""
        if lane < self.lane:
            self.lane = lane
            for tell in list(self._listeners):
                tell(lane)

    @contextlib.contextmanager
    def lifting(self, other: Callable[[Lane], None]) -> Iterator[None]:
        """Lift `other` to this lane now, and whenever this one is lifted in the block."""
        other(self.lane)
        self._listeners.append(other)
        try:
            yield
        finally:
            self._listeners.remove(other)


class Ticket:
    """A chunk on its way through a host.

    Attributes:
        future: ends with a TakeResult, ChunkRefused, ChunkPoisoned, BackendUnavailable or HostStopped.
        dispatched_at: monotonic seconds when an engine first got the chunk; None while it waits.
        held_up: an engine has it, and gets another model first.
        on_change: called (without arguments) whenever either of them has changed.
        crashes: workers that died while they held this chunk and nothing else.
        alone: suspected of a crash in company, so spoken alone until it is cleared.
        lane: where it waits.
    """

    def __init__(
        self, order: ChunkOrder, withdraw: Callable[[Ticket], None], move: Callable[[Ticket, Lane], None]
    ) -> None:
        """`move` lets it wait in another lane, if it still waits."""
        self.order = order
        self.lane = order.lane
        self._move = move
        self.future: asyncio.Future[TakeResult] = asyncio.get_running_loop().create_future()
        self.dispatched_at: float | None = None
        self.held_up = False
        self.on_change: Callable[[], None] | None = None
        self.crashes = 0
        self.alone = False
        # Also when whoever awaits the future is cancelled, and with that the future.
        self.future.add_done_callback(lambda future: withdraw(self) if future.cancelled() else None)

    def dispatch(self, at: float) -> None:
        """An engine has the chunk."""
        if self.dispatched_at is None:
            self.dispatched_at = at
        self._tell()

    def lift(self, lane: Lane) -> None:
        """Let it wait in an earlier lane; a later one changes nothing."""
        if lane < self.lane:
            self._move(self, lane)

    def hold_up(self, held_up: bool) -> None:
        """Its engine gets another model, or is done with that or dead."""
        if self.held_up != held_up:
            self.held_up = held_up
            self._tell()

    def _tell(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def cancel(self) -> None:
        """Nobody wants this chunk any more: the future is cancelled at once, the engine is told."""
        self.future.cancel()

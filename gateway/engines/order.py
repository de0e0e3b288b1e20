"""Chunk orders for a host, take results from it, and the ticket that follows one chunk through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import msgspec

from backends.interface import Take, WordTime
from gateway.engines.chunk import ChunkSpec
from storage.records import Lane


class ChunkOrder(msgspec.Struct, frozen=True):
    """A request to a host to speak one chunk.

    Args:
        index: the chunk's place in its job; 0 is spoken before the later chunks of its tenant.
        lane: the lane the chunk waits in at first; see `ChunkTicket.lift`.
    """

    tenant: str
    job_id: str
    index: int
    spec: ChunkSpec
    lane: Lane = Lane.LONG


class FinishedTake(msgspec.Struct, frozen=True, array_like=True):
    """A take as the post function returns it.

    Args:
        file: the take as the engine spoke it, a 16-bit audio file.
        samples: of that take.
        pcm: the finished take (trimmed, stretched), int16 little-endian bytes.
        gain_db: gain that was applied so that the take fits into 16 bits; 0.0 unless its peak was above 1.
        report: the post function's report about the take, opaque here.
        words: its word times, in samples of the take; `pcm_words` are the same in samples of `pcm`.
    """

    file: bytes
    samples: int
    pcm: bytes
    gain_db: float
    report: bytes = b""
    words: tuple[WordTime, ...] = ()
    pcm_words: tuple[WordTime, ...] = ()


class TakeResult(FinishedTake, frozen=True, array_like=True, kw_only=True):
    """A finished take with what its engine says about it; the result of a chunk.

    Args:
        rate: in Hz.
        engine_s: seconds between the engine taking the chunk and giving its samples.
    """

    rate: int
    warnings: tuple[str, ...]
    engine_s: float


Post = Callable[[Take, bytes, bool], FinishedTake]
"""`post(take, finish, has_letters)`: a module-level function, run where the engine runs."""


class Rank:
    """The lane of work in progress. It is lifted when a caller in an earlier lane waits for the same work."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self._listeners: list[Callable[[Lane], None]] = []

    def lift(self, lane: Lane) -> None:
        """Move to an earlier lane and call all listeners; a later lane changes nothing."""
        if lane < self.lane:
            self.lane = lane
            for listener in list(self._listeners):
                listener(lane)

    @contextlib.contextmanager
    def lifting(self, other: Callable[[Lane], None]) -> Iterator[None]:
        """Lift `other` to this lane now, and again each time this rank is lifted inside the block."""
        other(self.lane)
        self._listeners.append(other)
        try:
            yield
        finally:
            self._listeners.remove(other)


class ChunkTicket:
    """A chunk in a host, from its order to its take or error.

    Args:
        withdraw: called when the chunk is cancelled.
        move: moves the chunk to another lane, if it still waits.

    Attributes:
        future: ends with a TakeResult, ChunkRefused, ChunkPoisoned, BackendUnavailable or HostStopped.
        dispatched_at: monotonic seconds when an engine first got the chunk; None while it waits.
        held_up: true while the engine that has the chunk loads another model.
        on_change: called (without arguments) when `dispatched_at` or `held_up` has changed.
        crashes: number of workers that died while they held this chunk and no other.
        alone: a worker died with this chunk and others, so the next worker gets it without others.
        lane: the lane it waits in.
    """

    def __init__(
        self,
        order: ChunkOrder,
        withdraw: Callable[[ChunkTicket], None],
        move: Callable[[ChunkTicket, Lane], None],
    ) -> None:
        self.order = order
        self.lane = order.lane
        self._move = move
        self.future: asyncio.Future[TakeResult] = asyncio.get_running_loop().create_future()
        self.dispatched_at: float | None = None
        self.held_up = False
        self.on_change: Callable[[], None] | None = None
        self.crashes = 0
        self.alone = False
        # Cancelling a task that awaits the future cancels the future too.
        self.future.add_done_callback(lambda future: withdraw(self) if future.cancelled() else None)

    def dispatch(self, at: float) -> None:
        """Record that an engine has the chunk."""
        if self.dispatched_at is None:
            self.dispatched_at = at
        self._notify()

    def end(self, outcome: TakeResult | BaseException) -> None:
        """Set the future's take or error; one that has ended stays as it is."""
        if self.future.done():
            return
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
            self.future.exception()  # else asyncio logs an exception that was never read, with the text in it
        else:
            self.future.set_result(outcome)

    def lift(self, lane: Lane) -> None:
        """Move to an earlier lane; a later lane changes nothing."""
        if lane < self.lane:
            self._move(self, lane)

    def hold_up(self, held_up: bool) -> None:
        """Set `held_up`: true when the engine begins to load another model, false when that ends or the engine dies."""
        if self.held_up != held_up:
            self.held_up = held_up
            self._notify()

    def _notify(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def cancel(self) -> None:
        """Cancel the chunk: the future ends at once, and the engine is told to drop it."""
        self.future.cancel()

"""Tells subscribers the outcome of each chunk of a host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import msgspec

from backends.interface import BackendUnavailable, FailureKind
from gateway.engines.errors import ChunkPoisoned, ChunkRefused
from gateway.engines.order import ChunkTicket
from gateway.metrics import Metrics
from gateway.settings.logs import get_logger

OutcomeKind: TypeAlias = Literal["spoken", "cancelled", "stopped", "poisoned"] | FailureKind

log = get_logger("voxgate.engines")

_COUNTED = {*get_args(FailureKind), "poisoned"} - {"unavailable"}


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of one chunk.

    Args:
        kind: `spoken`; `cancelled` by its job; `stopped` with the host; `poisoned`: it ended several workers; else the
            kind of the failure. `unavailable` is also the kind of chunks that the host refuses without a worker.
        dispatched: an engine had the chunk.
        retryable, retry_after_s: see ChunkFailed.
        engine_s: seconds the engine had the chunk; None if it was not spoken.
    """

    backend: str
    tenant: str
    job_id: str
    kind: OutcomeKind
    dispatched: bool
    retryable: bool = False
    retry_after_s: float | None = None
    engine_s: float | None = None


Listener: TypeAlias = Callable[[Outcome], None]


class Outcomes:
    """The subscribers to the outcomes of one host."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with each outcome, outside the host's own calls and before the chunk's waiter goes on."""
        self._listeners.append(listener)

    def follow(self, ticket: ChunkTicket) -> None:
        """Tell the outcome of this chunk when it has ended."""
        ticket.future.add_done_callback(lambda _: self._tell(ticket))

    def _tell(self, ticket: ChunkTicket) -> None:
        outcome = _outcome_of(self._backend, ticket)
        for listener in self._listeners:
            try:
                listener(outcome)
            except Exception:  # the other subscribers must still be told
                log.exception("outcome_listener_crashed", backend=self._backend)


def count_failures(metrics: Metrics) -> Listener:
    """Return a subscriber that counts failed chunks in the metrics."""

    def count(outcome: Outcome) -> None:
        if outcome.kind in _COUNTED:
            metrics.take_failures.labels(outcome.backend, outcome.kind).inc()

    return count


def _outcome_of(backend: str, ticket: ChunkTicket) -> Outcome:
    order, dispatched = ticket.order, ticket.dispatched_at is not None

    def outcome(
        kind: OutcomeKind, retryable: bool = False, retry_after_s: float | None = None, engine_s: float | None = None
    ) -> Outcome:
        return Outcome(backend, order.tenant, order.job_id, kind, dispatched, retryable, retry_after_s, engine_s)

    if ticket.future.cancelled():
        return outcome("cancelled")
    match ticket.future.exception():
        case None:
            return outcome("spoken", engine_s=ticket.future.result().engine_s)
        case ChunkRefused() as refusal:
            return outcome(refusal.kind, retryable=refusal.retryable, retry_after_s=refusal.retry_after_s)
        case ChunkPoisoned():
            return outcome("poisoned")
        case BackendUnavailable():
            return outcome("unavailable")
        case _:
            return outcome("stopped")

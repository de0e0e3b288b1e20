"""Tries a chunk again that a backend could not speak, after the pause that the backend asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from gateway.clock import Clock
from gateway.engines.errors import ChunkRefused
from gateway.engines.order import TakeResult

PAUSES_S = (0.1, 0.5)
"""Seconds to wait before each retry of a chunk, if the backend asks for no longer pause."""

MOST_WAIT_S = 60.0
"""Seconds of pauses of one chunk in all; a job that would wait longer fails and can be retried by its caller."""


class Retries(msgspec.Struct, frozen=True):
    """The budget of retries of a chunk, and the clock that its pauses use.

    Args:
        flawed: the most retries of a take with flaws.
        pauses_s: seconds before each retry of a failed chunk; as many as there are pauses.
        most_wait_s: seconds of pauses of one chunk in all, those that a backend asks for included.
    """

    clock: Clock
    flawed: int
    pauses_s: tuple[float, ...] = PAUSES_S
    most_wait_s: float = MOST_WAIT_S


async def with_retries(
    speak: Callable[[int], Awaitable[TakeResult]], retries: Retries, new_seeds: bool = True
) -> TakeResult:
    """Speak a chunk, and again after each retryable failure while the budget lasts.

    Args:
        speak: called with 0, and with the number of the retry if it needs another seed. After `out_of_memory`, and
            after a failure that names a pause, the seed stays: the sound was not the problem.
        new_seeds: false to raise failures that need another seed.

    Raises:
        ChunkRefused: the last failure.
    """
    seed = 0
    waited_s = 0.0
    for retry, pause_s in enumerate((*retries.pauses_s, None), start=1):
        try:
            return await speak(seed)
        except ChunkRefused as refusal:
            asked_s = refusal.retry_after_s
            same_seed = refusal.kind == "out_of_memory" or asked_s is not None
            if pause_s is None or not refusal.retryable or refusal.kind == "too_long" or not (same_seed or new_seeds):
                raise
            pause_s = max(pause_s, asked_s or 0.0)
            if waited_s + pause_s > retries.most_wait_s:
                raise _asks_too_much(refusal, retries.most_wait_s) from refusal
            if not same_seed:
                seed = retry
        await retries.clock.sleep(pause_s)
        waited_s += pause_s
    raise AssertionError("the loop returns or raises")


def _asks_too_much(refusal: ChunkRefused, most_wait_s: float) -> ChunkRefused:
    asks = f"it asks for another try after {refusal.retry_after_s:g} s, and a chunk waits {most_wait_s:g} s at most"
    return ChunkRefused(refusal.kind, f"{refusal}; {asks}", refusal.retryable, refusal.retry_after_s)

"""The number of workers a host needs: more when chunks wait, fewer when workers are idle."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.engines.chunk_queue import ChunkQueue
from gateway.engines.hosted_worker import HostedWorker, Phase

SCALE_UP_AFTER_S = 0.2
"""Seconds a chunk waits before it starts a further worker: one start costs more than a short sentence."""


def workers_needed(
    queue: ChunkQueue, workers: Sequence[HostedWorker], concurrency: int, max_workers: int, now: float
) -> tuple[int, float | None]:
    """Count the workers that the waiting chunks need.

    Args:
        workers: those that load or are ready.
        concurrency: chunks one worker speaks at a time.
        now: monotonic seconds, as is the time returned.

    Returns:
        The number, and the time at which it may be higher; None if waiting alone does not raise it.
    """
    if not len(queue):
        return 0, None
    chunks, oldest = queue.worker_chunks()
    if oldest is None:
        return 1, None
    held = sum(len(hosted.held) for hosted in workers)
    full = min(max_workers, -(-(held + chunks) // concurrency))
    present = max(1, len(workers))
    if full > present and now < oldest + SCALE_UP_AFTER_S:
        return present, oldest + SCALE_UP_AFTER_S
    return max(1, full), None


def idle_workers(workers: Sequence[HostedWorker], spare: int) -> list[HostedWorker]:
    """Return up to `spare` ready workers without a chunk, those idle for longest first."""
    idle = [hosted for hosted in workers if hosted.phase is Phase.READY and not hosted.held and not hosted.loads_more]
    return sorted(idle, key=lambda hosted: hosted.used_at)[: max(0, spare)]

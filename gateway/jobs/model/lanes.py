"""Lanes: the part of the queue and of a server's places that a job has by its length and priority."""

from __future__ import annotations

from storage.records import Lane

SHORT_CHUNKS = 2
"""Chunks of a short job, at most."""


def lane_of_chunks(chunks: int) -> Lane:
    """The lane of a job of so many chunks that is not of low priority."""
    return Lane.SHORT if chunks <= SHORT_CHUNKS else Lane.LONG

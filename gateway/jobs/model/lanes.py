"""Lanes: a job's length and priority decide which part of the queue and of a server's slots it uses."""

from __future__ import annotations

from storage.records import Lane

SHORT_CHUNKS = 2
"""Maximum chunks of a short job."""


def lane_of_chunks(chunks: int) -> Lane:
    """Return the lane of a normal-priority job with this number of chunks."""
    return Lane.SHORT if chunks <= SHORT_CHUNKS else Lane.LONG

"""Notices: messages that one server's commit sends to the others, so that they read now instead of at their next poll.

A notice says only that rows have changed; a server that receives it reads the rows. It is sent with the commit that
makes it true, or not at all. On SQLite nothing is sent: the other processes on the machine poll.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from sqlalchemy import Connection

CHANNELS = ("voxgate_queue", "voxgate_changes")
"""Channels of PostgreSQL's NOTIFY: jobs that can be claimed, and every other topic."""

_MOST_BYTES = 7_900
"""A NOTIFY payload must be shorter than 8,000 bytes."""
_KEY = "voxgate_notices"


class Topic(StrEnum):
    """The kind of rows that have changed."""

    QUEUE = "queue"  # there may be a job to claim
    JOBS = "jobs"  # these jobs have ended
    TAKES = "takes"  # takes of these jobs were stored
    CACHE = "cache"  # cache entries were deleted, or have other audio now
    KEYS = "keys"
    ENDPOINTS = "endpoints"
    VOICES = "voices"
    PRONUNCIATIONS = "pronunciations"


Notices = dict[Topic, dict[str, None]]
"""Names by topic, in order and each once."""


def notify(connection: Connection, topic: Topic, names: Iterable[str] = ()) -> None:
    """Send a notice when the connection's transaction commits.

    Args:
        names: ids of jobs; other topics need none.
    """
    notices: Notices = connection.info.setdefault(_KEY, {})
    notices.setdefault(topic, {}).update(dict.fromkeys(names))


def take_notices(connection: Connection) -> Notices:
    """Return and clear the notices of the transaction so far."""
    notices: Notices = connection.info.pop(_KEY, {})
    return notices


def payloads(notices: Notices) -> list[tuple[str, str]]:
    """Return channel and payload of each message that carries these notices."""
    messages: list[tuple[str, str]] = []
    for topic, names in notices.items():
        if topic is Topic.QUEUE:
            messages.append((CHANNELS[0], ""))
        else:
            messages += [(CHANNELS[1], f"{topic} {part}".rstrip()) for part in _parts(names)]
    return messages


def read_payload(channel: str, payload: str) -> tuple[Topic, tuple[str, ...]] | None:
    """Return topic and names of a message; None for an unknown topic, which a newer release sent."""
    if channel == CHANNELS[0]:
        return Topic.QUEUE, ()
    topic, *names = payload.split(" ")
    return (Topic(topic), tuple(names)) if topic in set(Topic) else None


def _parts(names: Iterable[str]) -> Iterator[str]:
    part = ""
    for name in names:
        if part and len(part) + len(name) + 1 > _MOST_BYTES - 20:
            yield part
            part = ""
        part = f"{part} {name}" if part else name
    yield part

"""What one server's commit tells the others, so that they look at once instead of at their next poll.

A notice says that something has changed, never what it is now: whoever hears it reads the rows. It is sent with the
commit that makes it true, or not at all. On SQLite nothing is sent: the other processes of one machine poll.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from sqlalchemy import Connection

CHANNELS = ("voxgate_queue", "voxgate_changes")
"""PostgreSQL's names: jobs that can be claimed, and everything else."""

_MOST_BYTES = 7_900
"""A payload of NOTIFY ends at 8,000 bytes."""
_KEY = "voxgate_notices"


class Topic(StrEnum):
    """What has changed."""

    QUEUE = "queue"  # there may be a job to claim
    JOBS = "jobs"  # these jobs have ended
    TAKES = "takes"  # takes of these jobs were kept
    CACHE = "cache"  # entries were forgotten, or have other audio now
    KEYS = "keys"
    ENDPOINTS = "endpoints"
    VOICES = "voices"
    PRONUNCIATIONS = "pronunciations"


Notices = dict[Topic, dict[str, None]]
"""Names by topic, in their order and each once."""


def tell(connection: Connection, topic: Topic, names: Iterable[str] = ()) -> None:
    """Send this when the connection's transaction commits.

    Args:
        names: ids of jobs; other topics need none.
    """
    notices: Notices = connection.info.setdefault(_KEY, {})
    notices.setdefault(topic, {}).update(dict.fromkeys(names))


def take_notices(connection: Connection) -> Notices:
    """What the transaction has told so far; forgets it."""
    notices: Notices = connection.info.pop(_KEY, {})
    return notices


def payloads(notices: Notices) -> list[tuple[str, str]]:
    """Channel and payload of every message that carries these notices."""
    messages: list[tuple[str, str]] = []
    for topic, names in notices.items():
        if topic is Topic.QUEUE:
            messages.append((CHANNELS[0], ""))
        else:
            messages += [(CHANNELS[1], f"{topic} {part}".rstrip()) for part in _parts(names)]
    return messages


def read_payload(channel: str, payload: str) -> tuple[Topic, tuple[str, ...]] | None:
    """Topic and names of a message; None for one that a newer release sent."""
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

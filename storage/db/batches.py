"""Runs long work of the writer in batches so short that they do not delay submits.

A reader chooses rows; the writer deletes them by their keys, each batch in its own transaction. A batch's statement
repeats the condition by which the rows were chosen, since a row may have been used between the read and the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec
from sqlalchemy import Connection

from gateway.clock import Clock
from storage.db.database import Database

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

LEAST = 64
"""Rows of the smallest batch, which is also the first one."""
PAGE = 10_000
"""Rows that a reader reads at once."""


class Pace(msgspec.Struct, frozen=True):
    """The size of batches, and the pauses between them.

    Args:
        aim_s: seconds that a batch should take; a batch of slow rows may take twice as long.
        most: rows of the largest batch.
        pause: length of the pause after a batch, as a part of the batch's own.
    """

    aim_s: float
    most: int
    pause: float


PACES = {"sqlite": Pace(0.008, 500, 0.5), "postgresql": Pace(0.02, 1_000, 0.1)}
"""On SQLite every submit waits for the batch that is being written, and a third of the writer's time stays free. On
PostgreSQL only those wait that need the same rows."""


class Batches:
    """Runs functions of a writing connection over parts of a list; the last part's speed sets the size of the next.

    Args:
        clock: times the batches.
    """

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._pace = PACES[db.dialect]
        self._size = LEAST

    async def run(
        self,
        items: Sequence[I],
        fn: Callable[[Connection, Sequence[I]], R],
        weigh: Callable[[I], int] = lambda _: 1,
    ) -> list[R]:
        """Pass every item to `fn`, in batches; returns the result of each batch, when all of them are on the disk.

        Args:
            weigh: the cost of an item, in rows.
        """
        done: list[R] = []
        start = 0
        while start < len(items):
            end = start + _fitting(items, start, weigh, self._size)
            batch = items[start:end]
            await self._db.calm()
            last = end == len(items)  # waits for the disk, and so makes the batches before it durable, too
            began, result = await self._db.background.run(
                lambda conn, batch=batch: self._begun(conn, batch, fn),  # type: ignore[misc]
                lazy=not last,
            )
            took_s = self._clock.monotonic() - began  # with the commit, the larger part for scattered rows
            done.append(result)
            self._adapt(took_s)
            start = end
            await self._clock.sleep(took_s * self._pace.pause)
        return done

    def _begun(
        self, conn: Connection, batch: Sequence[I], fn: Callable[[Connection, Sequence[I]], R]
    ) -> tuple[float, R]:
        return self._clock.monotonic(), fn(conn, batch)

    def _adapt(self, took_s: float) -> None:
        factor = min(2.0, max(0.25, self._pace.aim_s / max(took_s, 1e-6)))
        self._size = min(self._pace.most, max(LEAST, round(self._size * factor)))


def _fitting(items: Sequence[I], start: int, weigh: Callable[[I], int], size: int) -> int:
    """Count the items from `start` on that weigh at most `size` together; at least one."""
    weight = count = 0
    for index in range(start, len(items)):
        weight += weigh(items[index])
        if count and weight > size:
            break
        count += 1
        if weight >= size:
            break
    return count


def until(rows: Sequence[Sequence[int | str]], excess_bytes: int) -> Iterator[str]:
    """Yield the keys of rows (key, size in bytes) until their sizes add up to `excess_bytes`."""
    for row in rows:
        if excess_bytes <= 0:
            return
        excess_bytes -= int(row[1])
        yield str(row[0])

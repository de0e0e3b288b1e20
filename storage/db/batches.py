"""Long work for the writer, in batches so short that nobody who submits a job notices them.

Rows are chosen by a reader and deleted by their keys, each batch in a transaction of its own. The statement of a batch
says again what made a row its prey: between the look and the batch it may have been used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from gateway.clock import Clock
from storage.db.database import Database

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

AIM_S = 0.008
"""Seconds of the writer that a batch should take; one of slow rows may take twice as long."""
LEAST = 64
MOST = 500
"""Rows of the smallest batch, which is the first when nothing was measured yet, and of the largest."""
PAGE = 10_000
"""Rows that a reader looks up at once."""


class Batches:
    """Runs functions of the writer's connection over parts of a list, each part as large as the last ones were fast.

    Args:
        clock: times the batches. After each there is a pause half as long as it took: a third of the writer is free.
    """

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._size = LEAST

    async def run(
        self,
        items: Sequence[I],
        fn: Callable[[Connection, Sequence[I]], R],
        weigh: Callable[[I], int] = lambda _: 1,
    ) -> list[R]:
        """Give every item to `fn`, in batches; gives what it gave for each batch.

        Args:
            weigh: what an item costs, in rows.
        """
        done: list[R] = []
        start = 0
        while start < len(items):
            end = start + _fitting(items, start, weigh, self._size)
            batch = items[start:end]
            await self._db.calm()
            began, result = await self._db.writer.run(lambda conn, batch=batch: self._begun(conn, batch, fn))  # type: ignore[misc]
            took_s = self._clock.monotonic() - began  # with the commit, which is most of it where rows lie scattered
            done.append(result)
            self._adapt(took_s)
            start = end
            await self._clock.sleep(took_s / 2)
        return done

    def _begun(
        self, conn: Connection, batch: Sequence[I], fn: Callable[[Connection, Sequence[I]], R]
    ) -> tuple[float, R]:
        return self._clock.monotonic(), fn(conn, batch)

    def _adapt(self, took_s: float) -> None:
        factor = min(2.0, max(0.25, AIM_S / max(took_s, 1e-6)))
        self._size = min(MOST, max(LEAST, round(self._size * factor)))


def _fitting(items: Sequence[I], start: int, weigh: Callable[[I], int], size: int) -> int:
    """How many items from `start` on weigh no more than `size`; at least one."""
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
    """The keys of rows (key, size in bytes) until together they have `excess_bytes`."""
    for row in rows:
        if excess_bytes <= 0:
            return
        excess_bytes -= int(row[1])
        yield str(row[0])

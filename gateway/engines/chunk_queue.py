"""The chunks of one host that wait for a worker."""

from __future__ import annotations

from gateway.engines.fair import FairQueue, QueueEntry
from gateway.engines.order import ChunkTicket
from storage.records import Lane

WORKER_LANES = (Lane.SHORT, Lane.LONG)
"""Lanes whose chunks start further workers; low chunks do not."""


class ChunkQueue:
    """Keeps tickets in fair order and remembers since when each waits. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._queue: FairQueue[ChunkTicket] = FairQueue()
        # Each dict has its oldest ticket first.
        self._entries: dict[Lane, dict[ChunkTicket, tuple[QueueEntry[ChunkTicket], float]]] = {
            lane: {} for lane in Lane
        }

    def __len__(self) -> int:
        return len(self._queue)

    def push(self, ticket: ChunkTicket, now: float, again: bool = False) -> None:
        """Add a ticket; `again` puts one that a worker lost before the other chunks of its job."""
        order = ticket.order
        entry = self._queue.push(
            ticket,
            tenant=order.tenant,
            job=order.job_id,
            cost=1 if again else len(order.spec.text),
            lane=ticket.lane,
            first=order.index == 0,
            front=again,
        )
        self._entries[ticket.lane][ticket] = (entry, now)

    def peek(self) -> ChunkTicket | None:
        """Return the next ticket and leave it in the queue."""
        return self._queue.peek()

    def pop(self) -> ChunkTicket | None:
        """Remove and return the next ticket."""
        ticket = self._queue.pop()
        if ticket is not None:
            self._entries[ticket.lane].pop(ticket, None)
        return ticket

    def withdraw(self, ticket: ChunkTicket) -> bool:
        """Remove a ticket; false if it does not wait here."""
        waiting = self._entries[ticket.lane].pop(ticket, None)
        return waiting is not None and self._queue.withdraw(waiting[0])

    def drain(self) -> list[ChunkTicket]:
        """Remove and return all tickets, in order."""
        for lane in self._entries.values():
            lane.clear()
        return self._queue.drain()

    def worker_chunks(self) -> tuple[int, float | None]:
        """Return the number of chunks that may start further workers, and since when the oldest waits."""
        lanes = [self._entries[lane] for lane in WORKER_LANES if self._entries[lane]]
        oldest = min((next(iter(entries.values()))[1] for entries in lanes), default=None)
        return sum(map(len, lanes)), oldest

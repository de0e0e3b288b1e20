"""The order of chunks that wait for an engine, by lane, then by tenant and job, in characters.

Short jobs come first, so that a sentence waits for two chunks at most, whatever else is there. In the long and in the
low lane: Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (SIGCOMM 1995), in two levels. A
tenant with a thousand chunks and one with a single chunk get the same share of characters while both wait.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from storage.records import Lane

T = TypeVar("T")

QUANTUM = 100
"""Characters a tenant (or a job) may speak at each turn: few, so that turns change often."""

FIRST_IN_A_ROW = 4
"""First chunks of a tenant in a row before a later one gets a turn: many new jobs must not starve a long one."""

SHORT_IN_A_ROW = 4
"""Chunks of short jobs in a row before one of another job gets a turn: sentences without end must not starve books."""

BURST = 1000
"""Characters a tenant may have been served above its share and still be level with the others: a minute of speech."""

REMEMBERED = 256
"""Short jobs that were begun last, and tenants that were served, of which at least so many are remembered."""


class QueueEntry(Generic[T]):
    """A waiting item; `waiting` turns false when it is taken or withdrawn."""

    __slots__ = ("cost", "item", "waiting")

    def __init__(self, item: T, cost: int) -> None:
        self.item = item
        self.cost = max(1, cost)
        self.waiting = True


class _Source(Protocol[T]):
    def head(self) -> QueueEntry[T] | None: ...
    def pop(self) -> None: ...


class _Fifo(Generic[T]):
    """First in, first out; withdrawn entries are dropped when they come to the front."""

    def __init__(self) -> None:
        self.entries: deque[QueueEntry[T]] = deque()

    def head(self) -> QueueEntry[T] | None:
        while self.entries and not self.entries[0].waiting:
            self.entries.popleft()
        return self.entries[0] if self.entries else None

    def pop(self) -> None:
        self.entries.popleft()


class _Round(Generic[T]):
    """Deficit round robin over named sources; a source without entries leaves and loses its deficit."""

    def __init__(self) -> None:
        self.sources: dict[str, _Source[T]] = {}
        self._turns: deque[str] = deque()
        self._deficit: dict[str, int] = {}

    def join(self, name: str, source: _Source[T]) -> None:
        self.sources[name] = source
        self._turns.append(name)
        self._deficit[name] = QUANTUM if len(self._turns) == 1 else 0

    def head(self) -> QueueEntry[T] | None:
        while self._turns:
            name = self._turns[0]
            entry = self.sources[name].head()
            if entry is None:
                self._turns.popleft()
                del self.sources[name], self._deficit[name]
            elif len(self._turns) == 1 or self._deficit[name] >= entry.cost:
                return entry
            else:
                self._turns.rotate(-1)
                self._deficit[self._turns[0]] += QUANTUM
                continue
            if self._turns:
                self._deficit[self._turns[0]] += QUANTUM
        return None

    def pop(self) -> None:
        name = self._turns[0]
        entry = self.sources[name].head()
        if entry is not None:
            self.sources[name].pop()
            self._deficit[name] = max(0, self._deficit[name] - entry.cost)


class _Tenant(Generic[T]):
    """One tenant's chunks: the first of each job before the later ones, those by job in turn."""

    def __init__(self) -> None:
        self.first: _Fifo[T] = _Fifo()
        self.later: _Round[T] = _Round()
        self._in_a_row = 0

    def _next(self) -> _Source[T]:
        if self.first.head() is None:
            return self.later
        if self._in_a_row >= FIRST_IN_A_ROW and self.later.head() is not None:
            return self.later
        return self.first

    def head(self) -> QueueEntry[T] | None:
        return self._next().head()

    def pop(self) -> None:
        source = self._next()
        self._in_a_row = self._in_a_row + 1 if source is self.first else 0
        source.pop()


class _Shorts(Generic[T]):
    """Chunks of short jobs: a job that was begun is ended first, then tenants in turn, job by job.

    Turns are start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): a tenant is served when all others have
    been served as much, give or take `BURST`. One that did not wait before goes before those who stand level with it,
    so that a flood by others is one job to somebody who sends now and then, however many they are.
    """

    def __init__(self) -> None:
        self._begun: _Fifo[T] = _Fifo()
        self._last: deque[str] = deque(maxlen=REMEMBERED)
        """Jobs that were begun last, since their second chunks may come later than their turn."""
        self._jobs: dict[str, _Fifo[T]] = {}
        self._lines: dict[str, deque[str]] = {}
        self._new: set[str] = set()
        self._served: dict[str, int] = {}
        self._level = 0

    def push(self, entry: QueueEntry[T], tenant: str, job: str, *, front: bool) -> None:
        line = self._jobs.get(job)
        if line is not None and line.head() is not None:
            (line.entries.appendleft if front else line.entries.append)(entry)
        elif front or job in self._last:
            (self._begun.entries.appendleft if front else self._begun.entries.append)(entry)
        else:
            self._drop_withdrawn()
            if tenant not in self._lines:
                self._lines[tenant] = deque()
                self._new.add(tenant)
            self._jobs[job] = _Fifo()
            self._jobs[job].entries.append(entry)
            self._lines[tenant].append(job)

    @property
    def begun(self) -> bool:
        """Whether a chunk of a job that was begun waits."""
        return self._begun.head() is not None

    def _drop_withdrawn(self) -> None:
        for tenant, jobs in list(self._lines.items()):
            while jobs and self._jobs[jobs[0]].head() is None:
                del self._jobs[jobs.popleft()]
            if not jobs:
                del self._lines[tenant]
                self._new.discard(tenant)

    def _start(self, tenant: str) -> int:
        return max(self._level, self._served.get(tenant, 0) - BURST)

    def _next(self) -> str | None:
        """The tenant whose turn it is."""
        self._drop_withdrawn()

        def turn(tenant: str) -> tuple[int, bool, int, int]:
            # Of those who stand level, the one served least; of those who have just come, the one that waits for least:
            # a single sentence, not the first of a hundred.
            served, jobs = max(self._level, self._served.get(tenant, 0)), len(self._lines[tenant])
            new = tenant in self._new
            return self._start(tenant), not new, *((jobs, served) if new else (served, jobs))

        return min(self._lines, key=turn, default=None)

    def head(self) -> QueueEntry[T] | None:
        if self.begun:
            return self._begun.head()
        tenant = self._next()
        return None if tenant is None else self._jobs[self._lines[tenant][0]].head()

    def pop(self) -> None:
        if self.begun:
            self._begun.pop()
            return
        tenant = self._next()
        if tenant is None:
            return
        job = self._lines[tenant].popleft()
        entries = self._jobs.pop(job).entries
        self._level = self._start(tenant)
        cost = sum(entry.cost for entry in entries if entry.waiting)
        self._served[tenant] = max(self._level, self._served.get(tenant, 0)) + cost
        self._new.discard(tenant)
        entries.popleft()
        self._begun.entries.extend(entries)
        self._last.append(job)
        self._drop_withdrawn()
        if len(self._served) > REMEMBERED:
            self._served = {name: served for name, served in self._served.items() if served > self._level}


class _Jobs(Generic[T]):
    """Chunks of jobs of any length: deficit round robin by tenant."""

    def __init__(self) -> None:
        self._round: _Round[T] = _Round()

    def push(self, entry: QueueEntry[T], tenant: str, job: str, *, first: bool, front: bool) -> None:
        owner = self._round.sources.get(tenant)
        if not isinstance(owner, _Tenant):
            owner = _Tenant()
            self._round.join(tenant, owner)
        line: _Source[T] | None = owner.first if first else owner.later.sources.get(job)
        if not isinstance(line, _Fifo):
            line = _Fifo()
            owner.later.join(job, line)
        (line.entries.appendleft if front else line.entries.append)(entry)

    def head(self) -> QueueEntry[T] | None:
        return self._round.head()

    def pop(self) -> None:
        self._round.pop()


class FairQueue(Generic[T]):
    """Chunks that wait for an engine. The low lane is served when nothing else waits."""

    def __init__(self) -> None:
        self._short: _Shorts[T] = _Shorts()
        self._long: _Jobs[T] = _Jobs()
        self._low: _Jobs[T] = _Jobs()
        self._shorts_in_a_row = 0
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def push(
        self,
        item: T,
        *,
        tenant: str,
        job: str,
        cost: int,
        lane: Lane = Lane.LONG,
        first: bool = False,
        front: bool = False,
    ) -> QueueEntry[T]:
        """Let an item wait.

        Args:
            cost: characters.
            first: it is the first chunk of its job.
            front: it waits before its job's other chunks (it was served before, in vain).
        """
        entry = QueueEntry(item, cost)
        if lane is Lane.SHORT:
            self._short.push(entry, tenant, job, front=front)
        else:
            (self._long if lane is Lane.LONG else self._low).push(entry, tenant, job, first=first, front=front)
        self._waiting += 1
        return entry

    def _next(self) -> _Source[T]:
        if self._short.head() is not None:
            # Between two chunks of one sentence nobody comes: it would wait for more than its neighbour's two.
            due = self._shorts_in_a_row >= SHORT_IN_A_ROW and not self._short.begun
            if not due or self._long.head() is None:
                return self._short
        return self._long if self._long.head() is not None else self._low

    def peek(self) -> T | None:
        """The item that is next; the same until something is pushed, popped or withdrawn."""
        entry = self._next().head()
        return entry.item if entry else None

    def pop(self) -> T | None:
        """Take the next one."""
        source = self._next()
        entry = source.head()
        if entry is None:
            return None
        source.pop()
        self._shorts_in_a_row = self._shorts_in_a_row + 1 if source is self._short else 0
        entry.waiting = False
        self._waiting -= 1
        return entry.item

    def withdraw(self, entry: QueueEntry[T]) -> bool:
        """Take one out; false when it was not waiting any more."""
        if not entry.waiting:
            return False
        entry.waiting = False
        self._waiting -= 1
        return True

    def drain(self) -> list[T]:
        """Take all of them, in turn."""
        items = []
        while (item := self.pop()) is not None:
            items.append(item)
        return items

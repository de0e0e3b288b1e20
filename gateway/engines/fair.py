"""The fair order of chunks that wait for an engine: by lane, then by tenant and job, counted in characters.

Short jobs come first: a sentence waits for two chunks at most, whatever the backlog. The long and the low lane use
deficit round robin in two levels (Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round Robin", SIGCOMM
1995): a tenant with a thousand chunks and one with a single chunk get the same share of characters while both wait.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from storage.records import Lane

T = TypeVar("T")

QUANTUM = 100
"""Characters a tenant (or a job) may speak in each turn: few, so that turns change often."""

FIRST_IN_A_ROW = 4
"""First chunks of a tenant in a row before a later chunk gets a turn: many new jobs must not starve a long one."""

SHORT_IN_A_ROW = 4
"""Chunks of short jobs in a row before a chunk of a long job gets a turn: sentences must not starve a book."""

BURST = 1000
"""Characters a tenant may be served above its share and still count as level with the others: a minute of speech."""

HISTORY = 256
"""Number of short jobs begun last, and smallest number of served tenants, that the queue remembers."""


class QueueEntry(Generic[T]):
    """A waiting item; `waiting` becomes false when it is popped or withdrawn."""

    __slots__ = ("cost", "item", "waiting")

    def __init__(self, item: T, cost: int) -> None:
        self.item = item
        self.cost = max(1, cost)
        self.waiting = True


class _Source(Protocol[T]):
    def head(self) -> QueueEntry[T] | None: ...
    def pop(self) -> None: ...


class _Fifo(Generic[T]):
    """A first-in, first-out queue; withdrawn entries are dropped when they reach the front."""

    def __init__(self) -> None:
        self.entries: deque[QueueEntry[T]] = deque()

    def head(self) -> QueueEntry[T] | None:
        while self.entries and not self.entries[0].waiting:
            self.entries.popleft()
        return self.entries[0] if self.entries else None

    def pop(self) -> None:
        self.entries.popleft()


class _Round(Generic[T]):
    """Deficit round robin over named sources; an empty source is removed and loses its deficit."""

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
    """The chunks of one tenant: the first chunk of each job before the later ones, later ones by job in turn."""

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
    """Chunks of short jobs: a job that was begun is finished first, then tenants take turns, job by job.

    Turns follow start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): a tenant is served when all others have
    been served as much, within `BURST`. A tenant that did not wait before goes before those level with it: it then
    waits for one job at most, however many tenants keep the queue full.
    """

    def __init__(self) -> None:
        self._begun: _Fifo[T] = _Fifo()
        self._last: deque[str] = deque(maxlen=HISTORY)
        """Jobs begun last: their second chunks may arrive after their turn."""
        self._jobs: dict[str, _Fifo[T]] = {}
        self._tenant_jobs: dict[str, deque[str]] = {}
        self._new: set[str] = set()
        self._served: dict[str, int] = {}
        self._level = 0

    def push(self, entry: QueueEntry[T], tenant: str, job: str, *, front: bool) -> None:
        chunks = self._jobs.get(job)
        if chunks is not None and chunks.head() is not None:
            (chunks.entries.appendleft if front else chunks.entries.append)(entry)
        elif front or job in self._last:
            (self._begun.entries.appendleft if front else self._begun.entries.append)(entry)
        else:
            self._drop_withdrawn()
            if tenant not in self._tenant_jobs:
                self._tenant_jobs[tenant] = deque()
                self._new.add(tenant)
            self._jobs[job] = _Fifo()
            self._jobs[job].entries.append(entry)
            self._tenant_jobs[tenant].append(job)

    @property
    def begun(self) -> bool:
        """True if a chunk of a begun job waits."""
        return self._begun.head() is not None

    def _drop_withdrawn(self) -> None:
        for tenant, jobs in list(self._tenant_jobs.items()):
            while jobs and self._jobs[jobs[0]].head() is None:
                del self._jobs[jobs.popleft()]
            if not jobs:
                del self._tenant_jobs[tenant]
                self._new.discard(tenant)

    def _start(self, tenant: str) -> int:
        return max(self._level, self._served.get(tenant, 0) - BURST)

    def _next(self) -> str | None:
        """Return the tenant that is next in turn."""
        self._drop_withdrawn()

        def turn(tenant: str) -> tuple[int, bool, int, int]:
            # Of level tenants, the one served least; of new tenants, the one with the fewest jobs: a single sentence
            # goes before the first of a hundred.
            served, jobs = max(self._level, self._served.get(tenant, 0)), len(self._tenant_jobs[tenant])
            new = tenant in self._new
            return self._start(tenant), not new, *((jobs, served) if new else (served, jobs))

        return min(self._tenant_jobs, key=turn, default=None)

    def head(self) -> QueueEntry[T] | None:
        if self.begun:
            return self._begun.head()
        tenant = self._next()
        return None if tenant is None else self._jobs[self._tenant_jobs[tenant][0]].head()

    def pop(self) -> None:
        if self.begun:
            self._begun.pop()
            return
        tenant = self._next()
        if tenant is None:
            return
        job = self._tenant_jobs[tenant].popleft()
        entries = self._jobs.pop(job).entries
        self._level = self._start(tenant)
        cost = sum(entry.cost for entry in entries if entry.waiting)
        self._served[tenant] = max(self._level, self._served.get(tenant, 0)) + cost
        self._new.discard(tenant)
        entries.popleft()
        self._begun.entries.extend(entries)
        self._last.append(job)
        self._drop_withdrawn()
        if len(self._served) > HISTORY:
            self._served = {name: served for name, served in self._served.items() if served > self._level}


class _Jobs(Generic[T]):
    """Chunks of jobs of any length, in deficit round robin by tenant."""

    def __init__(self) -> None:
        self._round: _Round[T] = _Round()

    def push(self, entry: QueueEntry[T], tenant: str, job: str, *, first: bool, front: bool) -> None:
        owner = self._round.sources.get(tenant)
        if not isinstance(owner, _Tenant):
            owner = _Tenant()
            self._round.join(tenant, owner)
        chunks: _Source[T] | None = owner.first if first else owner.later.sources.get(job)
        if not isinstance(chunks, _Fifo):
            chunks = _Fifo()
            owner.later.join(job, chunks)
        (chunks.entries.appendleft if front else chunks.entries.append)(entry)

    def head(self) -> QueueEntry[T] | None:
        return self._round.head()

    def pop(self) -> None:
        self._round.pop()


class FairQueue(Generic[T]):
    """A queue of chunks in fair order. The low lane is served only when the other lanes are empty."""

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
        """Add an item.

        Args:
            cost: characters.
            first: the item is the first chunk of its job.
            front: the item goes before its job's other chunks (it was popped before, and lost).
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
            # A long job's chunk never goes between two chunks of a short job: the next one would wait for three chunks.
            due = self._shorts_in_a_row >= SHORT_IN_A_ROW and not self._short.begun
            if not due or self._long.head() is None:
                return self._short
        return self._long if self._long.head() is not None else self._low

    def peek(self) -> T | None:
        """Return the next item; it stays the same until an item is pushed, popped or withdrawn."""
        entry = self._next().head()
        return entry.item if entry else None

    def pop(self) -> T | None:
        """Remove and return the next item; None if none waits."""
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
        """Remove an entry; false if it no longer waits."""
        if not entry.waiting:
            return False
        entry.waiting = False
        self._waiting -= 1
        return True

    def drain(self) -> list[T]:
        """Remove and return all items, in order."""
        items = []
        while (item := self.pop()) is not None:
            items.append(item)
        return items

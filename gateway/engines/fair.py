"""Who is served next: deficit round robin by tenant, then by job, in characters.

Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round Robin" (SIGCOMM 1995), in two levels. A tenant
with a thousand chunks and one with a single chunk get the same share of characters while both wait.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

QUANTUM = 100
"""Characters a tenant (or a job) may speak at each turn: few, so that turns change often."""

FIRST_IN_A_ROW = 4
"""First chunks of a tenant in a row before a later one gets a turn: many short jobs must not starve a long one."""


class Entry(Generic[T]):
    """A waiting item; `waiting` turns false when it is taken or withdrawn."""

    __slots__ = ("cost", "item", "waiting")

    def __init__(self, item: T, cost: int) -> None:
        self.item = item
        self.cost = max(1, cost)
        self.waiting = True


class _Source(Protocol[T]):
    def head(self) -> Entry[T] | None: ...
    def pop(self) -> None: ...


class _Line(Generic[T]):
    """First in, first out; withdrawn entries are dropped when they come to the front."""

    def __init__(self) -> None:
        self.entries: deque[Entry[T]] = deque()

    def head(self) -> Entry[T] | None:
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

    def head(self) -> Entry[T] | None:
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
        self.first: _Line[T] = _Line()
        self.later: _Round[T] = _Round()
        self._in_a_row = 0

    def _next(self) -> _Source[T]:
        if self.first.head() is None:
            return self.later
        if self._in_a_row >= FIRST_IN_A_ROW and self.later.head() is not None:
            return self.later
        return self.first

    def head(self) -> Entry[T] | None:
        return self._next().head()

    def pop(self) -> None:
        source = self._next()
        self._in_a_row = self._in_a_row + 1 if source is self.first else 0
        source.pop()


class FairQueue(Generic[T]):
    """Chunks that wait for an engine. Low priority is served when nothing else waits."""

    def __init__(self) -> None:
        self._normal: _Round[T] = _Round()
        self._low: _Round[T] = _Round()
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def push(
        self, item: T, *, tenant: str, job: str, cost: int, first: bool = False, low: bool = False, front: bool = False
    ) -> Entry[T]:
        """Let an item wait.

        Args:
            cost: characters.
            first: it is the first chunk of its job.
            front: it waits before its job's other chunks (it was served before, in vain).
        """
        lane = self._low if low else self._normal
        owner = lane.sources.get(tenant)
        if not isinstance(owner, _Tenant):
            owner = _Tenant()
            lane.join(tenant, owner)
        line: _Source[T] | None = owner.first if first else owner.later.sources.get(job)
        if not isinstance(line, _Line):
            line = _Line()
            owner.later.join(job, line)
        entry = Entry(item, cost)
        (line.entries.appendleft if front else line.entries.append)(entry)
        self._waiting += 1
        return entry

    def peek(self) -> T | None:
        """Who is next; the same until something is pushed, popped or withdrawn."""
        entry = self._normal.head() or self._low.head()
        return entry.item if entry else None

    def pop(self) -> T | None:
        """Take the next one."""
        for lane in (self._normal, self._low):
            if (entry := lane.head()) is not None:
                lane.pop()
                entry.waiting = False
                self._waiting -= 1
                return entry.item
        return None

    def withdraw(self, entry: Entry[T]) -> bool:
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

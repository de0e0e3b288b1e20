"""Limits the bytes of the bodies that are sent at one time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class NoRoom(Exception):
    """The budget had no room within the time limit."""


class Budget:
    """A limit in bytes shared by concurrent work; work that does not fit waits until bytes are freed.

    No tenant gets more than half, so that a tenant whose receivers hang leaves room for the others. Work larger than
    half counts as half, since it would never fit otherwise. Waiting work goes in order, but smaller work does not
    wait for larger work before it. Used only on the event loop.
    """

    def __init__(self, size_bytes: int) -> None:
        self._limit_bytes = max(1, size_bytes)
        self._held: Counter[str] = Counter()
        self._waiting: list[tuple[asyncio.Future[None], str, int]] = []
        self.held_bytes = 0

    @asynccontextmanager
    async def room(self, tenant: str, size_bytes: int, within_s: float) -> AsyncIterator[None]:
        """Hold `size_bytes` while the block runs.

        Raises:
            NoRoom: the bytes were not free within `within_s`.
        """
        counted = min(size_bytes, max(1, self._limit_bytes // 2))
        if self._fits(tenant, counted):
            self._take(tenant, counted)
        else:
            await self._wait(tenant, counted, within_s)
        try:
            yield
        finally:
            self._give_back(tenant, counted)

    async def _wait(self, tenant: str, counted: int, within_s: float) -> None:
        given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (given, tenant, counted)
        self._waiting.append(place)
        try:
            async with asyncio.timeout(within_s):
                await given
        except BaseException as error:
            if place in self._waiting:
                self._waiting.remove(place)
            else:  # the bytes were granted in the same moment
                self._give_back(tenant, counted)
            if isinstance(error, TimeoutError):
                raise NoRoom from None
            raise

    def _fits(self, tenant: str, counted: int) -> bool:
        return self.held_bytes + counted <= self._limit_bytes and self._held[tenant] + counted <= max(
            1, self._limit_bytes // 2
        )

    def _take(self, tenant: str, counted: int) -> None:
        self.held_bytes += counted
        self._held[tenant] += counted

    def _give_back(self, tenant: str, counted: int) -> None:
        self._take(tenant, -counted)
        if not self._held[tenant]:
            del self._held[tenant]
        for place in list(self._waiting):
            given, other, wanted = place
            if self._fits(other, wanted):
                self._waiting.remove(place)
                self._take(other, wanted)
                given.set_result(None)

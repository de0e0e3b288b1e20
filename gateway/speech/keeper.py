"""Stores an utterance's takes while the next ones are spoken and these are encoded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.engines.order import TakeResult
from gateway.speech.shelf import JobRef, Shelf
from storage.records import TakeRecord


class Keeper:
    """Takes on their way to the shelf.

    Args:
        on_kept: called whenever a take is committed.
        own_voice: tenant and content hash, where the tenant's own voice speaks.

    Attributes:
        error: why a take could not be stored, if so; the utterance cannot be finished then.
    """

    def __init__(
        self,
        shelf: Shelf,
        ref: JobRef,
        on_kept: Callable[[], None],
        own_voice: tuple[str, str] | tuple[None, None] = (None, None),
    ) -> None:
        self._own_voice = own_voice
        self._shelf = shelf
        self._ref = ref
        self._on_kept = on_kept
        self._tasks: set[asyncio.Task[None]] = set()
        self.error: BaseException | None = None

    def keep(self, key: str, result: TakeResult) -> None:
        """Begin to store a take."""
        tenant, voice_hash = self._own_voice
        take = TakeRecord(
            key=key,
            blob_hash="",
            size_bytes=0,
            samples=result.samples,
            sample_rate=result.rate,
            gain_db=result.gain_db,
            warnings=result.warnings,
            tenant=tenant,
            voice_hash=voice_hash,
        )
        task = asyncio.create_task(self._shelf.keep(take, result.flac, self._ref))
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def check(self) -> None:
        """Raise what kept a take from being stored."""
        if self.error is not None:
            raise self.error

    async def kept(self) -> None:
        """Wait until every take is committed, and raise what kept one from it."""
        await self.settled()
        self.check()

    async def settled(self) -> None:
        """Wait until every take is stored or could not be."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.error = self.error or error
        else:
            self._on_kept()

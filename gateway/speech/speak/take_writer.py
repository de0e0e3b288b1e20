"""Stores an utterance's takes while the next ones are spoken and these are encoded.

The first take is stored at once; those after it wait a moment for company. One transaction and one turn of a thread
for ten takes cost a fifth of what ten cost, and a take that was not stored yet is spoken again after a kill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.clock import set_within
from gateway.engines.order import TakeResult
from gateway.speech.sound.finish import Finish
from gateway.speech.speak.fresh_takes import FreshTakes
from gateway.speech.speak.progress import Progress
from gateway.speech.speak.take_store import JobRef, StoredTakes
from storage.records import TakeRecord

LINGER_S = 0.25
"""How long a take may wait for others, in seconds; what a kill may cost an utterance beside the chunk being spoken."""

BATCH = 16
"""So many takes are stored at once, however fast they come."""


class TakeWriter:
    """Takes on their way to the take_store.

    Args:
        fresh: where takes are heard until they are stored.
        progress: of the utterance; the job's row has it with the takes.
        on_stored: called whenever takes are committed.
        own_voice: tenant and content hash, where the tenant's own voice speaks.
        at_once: False where the first take is the last: it is stored when somebody waits for that (`wait_ended`), so
            that it does not compete for disk and writer with the file its caller is waiting for.

    Attributes:
        error: why a take could not be stored, if so; the utterance cannot be finished then.
        changes: how many of `FreshTakes.changes` are its own.
    """

    def __init__(
        self,
        take_store: StoredTakes,
        fresh: FreshTakes,
        ref: JobRef,
        progress: Progress,
        on_stored: Callable[[], None],
        own_voice: tuple[str, str] | tuple[None, None] = (None, None),
        at_once: bool = True,
    ) -> None:
        self.at_once = at_once
        self.changes = 0
        self._progress = progress
        self._own_voice = own_voice
        self._take_store = take_store
        self._fresh = fresh
        self._ref = ref
        self._on_stored = on_stored
        self._waiting: list[tuple[TakeRecord, bytes]] = []
        self._to_pin: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._flush_now = asyncio.Event()
        self._has_room = asyncio.Event()
        self._closing = False
        self.error: BaseException | None = None

    def add(self, key: str, result: TakeResult, finish: Finish) -> None:
        """Begin to store a take, its samples finished in this way; it can be heard from now on."""
        self._fresh.add(key, result, finish)
        self.changes += 1
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
        self._waiting.append((take, result.file))
        if len(self._waiting) >= BATCH:
            self._flush_now.set()
        self._begin()

    def pin(self, key: str) -> None:
        """The utterance uses a take that another one stores: it must find it, too, if it begins again."""
        self._to_pin.append(key)
        self._begin()

    async def wait_for_room(self) -> None:
        """Wait while two batches wait: a disk slower than the engine must not fill the memory with takes."""
        while len(self._waiting) >= 2 * BATCH and self.error is None:
            self._has_room.clear()
            await self._has_room.wait()

    def check(self) -> None:
        """Raise what kept a take from being stored."""
        if self.error is not None:
            raise self.error

    def flush(self) -> None:
        """Nothing more will come: store what waits for company now."""
        self._closing = True
        self._flush_now.set()
        if self._waiting or self._to_pin:
            self._begin()

    async def wait_stored(self) -> None:
        """Wait until every take is committed, and raise what kept one from it."""
        await self.wait_ended()
        self.check()

    async def wait_ended(self) -> None:
        """Wait until every take is stored or could not be; nothing lingers any more."""
        self.flush()
        if self._task is not None:
            await asyncio.wait({self._task})

    def _begin(self) -> None:
        if self._task is None and (self.at_once or self._closing):
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting or self._to_pin:
                batch, self._waiting = self._waiting, []
                to_pin, self._to_pin = self._to_pin, []
                self._has_room.set()
                try:
                    if batch:
                        await self._store_batch(batch)
                finally:
                    self._drop(batch)
                if to_pin:
                    await self._take_store.pin(to_pin, self._ref.job_id)
                await self._wait_for_more()
        except Exception as error:  # noqa: BLE001 - it is the utterance that fails; `check` raises it there
            self.error = error
            self._drop(self._waiting)
        finally:
            self._task = None
            self._has_room.set()

    async def _store_batch(self, batch: list[tuple[TakeRecord, bytes]]) -> None:
        keys = [take.key for take, _ in batch]
        await self._take_store.store(batch, self._ref, self._progress.after(keys))
        self._progress.add(keys)
        self._on_stored()

    def _drop(self, batch: list[tuple[TakeRecord, bytes]]) -> None:
        for take, _ in batch:
            self._fresh.drop(take.key)
            self.changes += 1

    async def _wait_for_more(self) -> None:
        if not self._closing:
            await set_within(self._flush_now, LINGER_S)
            if not self._closing:
                self._flush_now.clear()

"""Stores the takes of an utterance in batches while the next ones are spoken.

The first take is stored at once; later ones wait up to LINGER_S for others. One transaction for ten takes costs a fifth
of ten transactions. A take that is not stored yet is spoken again after a kill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.clock import set_within
from gateway.engines.order import TakeResult
from gateway.speech.sound.finish import Finish
from gateway.speech.sound.word_times import to_json
from gateway.speech.speak.progress import ChunkProgress
from gateway.speech.speak.takes import Takes
from gateway.speech.speak.utterance import Utterance
from gateway.speech.text.script import PlannedChunk
from storage.records import TakeRecord

LINGER_S = 0.25
"""The longest time in seconds that a take waits for others. A kill loses this much beside the chunk being spoken."""

BATCH = 16
"""Takes that are stored without waiting for more."""


class TakeWriter:
    """Writes the takes of one utterance to the take store, in the background.

    Args:
        progress: of the utterance; written to the job's row with the takes.
        on_stored: called whenever takes are committed.
        at_once: False for an utterance of one take whose caller waits: the take is stored at `flush`, so that it does
            not compete for disk and database with the file the caller waits for.

    Attributes:
        error: the reason why a take could not be stored; the utterance cannot be finished then.
        changes: the part of `FreshTakes.changes` that this writer caused.
    """

    def __init__(
        self,
        takes: Takes,
        utterance: Utterance,
        progress: ChunkProgress,
        on_stored: Callable[[], None],
        at_once: bool = True,
    ) -> None:
        self.at_once = at_once
        self.changes = 0
        self._progress = progress
        self._stored = takes.stored
        self._fresh = takes.fresh  # holds each take until it is stored, for streams
        self._ref = utterance.ref
        self._tenant = utterance.tenant  # takes of its own voices are deleted with them
        self._on_stored = on_stored
        self._waiting: list[tuple[TakeRecord, bytes]] = []
        self._to_pin: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._flush_now = asyncio.Event()
        self._has_room = asyncio.Event()
        self._closing = False
        self.error: BaseException | None = None

    def add(self, chunk: PlannedChunk, result: TakeResult, finish: Finish) -> None:
        """Begin to store a chunk's take, finished with `finish`; streams can read it from now on."""
        self._fresh.add(chunk.key, result, finish)
        self.changes += 1
        use = chunk.use
        take = TakeRecord(
            key=chunk.key,
            blob_hash="",
            size_bytes=0,
            samples=result.samples,
            sample_rate=result.rate,
            gain_db=result.gain_db,
            warnings=result.warnings,
            tenant=self._tenant if use.uploaded else None,
            voice_hash=use.source.voice_hash if use.uploaded else None,
            words=to_json(result.words),
        )
        self._waiting.append((take, result.file))
        if len(self._waiting) >= BATCH:
            self._flush_now.set()
        self._begin()

    def pin(self, key: str) -> None:
        """Pin a take that another utterance stores, so that a further attempt of this job finds it."""
        self._to_pin.append(key)
        self._begin()

    async def wait_for_room(self) -> None:
        """Wait while two batches are waiting, so that a slow disk does not fill the memory with takes."""
        while len(self._waiting) >= 2 * BATCH and self.error is None:
            self._has_room.clear()
            await self._has_room.wait()

    def check(self) -> None:
        """Raise the error of a take that could not be stored."""
        if self.error is not None:
            raise self.error

    def flush(self) -> None:
        """Store the waiting takes now; no more will be added."""
        self._closing = True
        self._flush_now.set()
        if self._waiting or self._to_pin:
            self._begin()

    async def wait_stored(self) -> None:
        """Wait until every take is committed.

        Raises:
            StorageError: a take could not be stored.
        """
        await self.wait_ended()
        self.check()

    async def wait_ended(self) -> None:
        """Flush, and wait until every take is stored or has failed."""
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
                    await self._stored.pin(to_pin, self._ref.job_id)
                await self._wait_for_more()
        except Exception as error:  # noqa: BLE001 - it is the utterance that fails; `check` raises it there
            self.error = error
            self._drop(self._waiting)
        finally:
            self._task = None
            self._has_room.set()

    async def _store_batch(self, batch: list[tuple[TakeRecord, bytes]]) -> None:
        keys = [take.key for take, _ in batch]
        await self._stored.store(batch, self._ref, self._progress.after(keys))
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

"""Stores takes: first the audio file, then the row. A chunk is finished when its row is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from gateway.speech.sound.take import is_packed, packed
from storage.errors import BlobMissing
from storage.files.audio import AudioStore
from storage.records import TakeRecord
from storage.takes import TakeStore


class JobRef(msgspec.Struct, frozen=True):
    """The attempt that speaks. Its writes have no effect after another attempt of the job has begun."""

    job_id: str
    owner: str
    attempt: int


class StoredTakes:
    """Stores and finds takes by key, as FLAC files with a row each."""

    def __init__(self, takes: TakeStore, audio: AudioStore) -> None:
        self._takes = takes
        self._audio = audio

    async def find(self, keys: list[str], job_id: str | None = None) -> dict[str, TakeRecord]:
        """Return the stored takes of these keys, and pin them for the job that will use them."""
        found: dict[str, TakeRecord] = {}
        for start in range(0, len(keys), 256):
            found.update(await self._takes.get_many(keys[start : start + 256]))
        if found:
            await self._takes.touch(found, job_id)
        return found

    async def pin(self, keys: list[str], job_id: str) -> None:
        """Pin takes that this job uses and another job stores; they need not be stored yet."""
        await self._takes.touch(keys, job_id)

    async def read(self, take: TakeRecord) -> bytes | None:
        """Return the FLAC of a take; None if its file is missing or damaged, and the chunk must be spoken again."""
        try:
            return await self._audio.read(take.blob_hash)
        except BlobMissing:
            return None

    async def store(self, takes: Sequence[tuple[TakeRecord, bytes]], ref: JobRef, progress: tuple[int, int]) -> None:
        """Store takes with their files, as FLAC, and the job's progress; all of it is committed when this returns.

        Args:
            progress: (chunks done, chunks in total) of the job, these takes included.
        """
        files = [file for _, file in takes]
        if not all(is_packed(file) for file in files):
            files = await asyncio.to_thread(lambda: [packed(file) for file in files])
        blobs = await self._audio.put_many(files, ".flac")
        stored = [
            (msgspec.structs.replace(take, blob_hash=blob.hash, size_bytes=blob.size_bytes), blob)
            for (take, _), blob in zip(takes, blobs, strict=True)
        ]
        await self._takes.store_many(stored, ref.job_id, ref.attempt, ref.owner, progress)
        await self._audio.settle(*blobs)

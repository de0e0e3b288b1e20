"""Where takes rest: audio first, then the row; a chunk is finished when its row is committed."""

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
    """The attempt that speaks: its writes are void once another attempt has begun."""

    job_id: str
    owner: str
    attempt: int


class StoredTakes:
    """Finished takes by key, as FLAC."""

    def __init__(self, takes: TakeStore, audio: AudioStore) -> None:
        self._takes = takes
        self._audio = audio

    async def find(self, keys: list[str], job_id: str | None = None) -> dict[str, TakeRecord]:
        """The takes there are under these keys; finding them pins them for the job that means to use them."""
        found: dict[str, TakeRecord] = {}
        for start in range(0, len(keys), 256):
            found.update(await self._takes.get_many(keys[start : start + 256]))
        if found:
            await self._takes.touch(found, job_id)
        return found

    async def pin(self, keys: list[str], job_id: str) -> None:
        """Pin takes that this job uses and another one stores, whether they are here yet or not."""
        await self._takes.touch(keys, job_id)

    async def read(self, take: TakeRecord) -> bytes | None:
        """The FLAC of a take, or None if its file is gone or damaged: then it is spoken again."""
        try:
            return await self._audio.read(take.blob_hash)
        except BlobMissing:
            return None

    async def store(self, takes: Sequence[tuple[TakeRecord, bytes]], ref: JobRef, progress: tuple[int, int]) -> None:
        """Store takes with their files, as FLAC; when this returns they survive the process, and so does `progress`:
        chunks of the job that are done with them, and chunks there are.
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

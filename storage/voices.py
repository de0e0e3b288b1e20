"""Stores uploaded voices: their tenant, name, recording and details."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, bindparam, text
from sqlalchemy.exc import IntegrityError

from gateway.clock import Clock, SystemClock
from gateway.errors import Conflict
from storage.db import marks, statements
from storage.db.batches import PAGE, Batches
from storage.db.database import Database
from storage.db.notices import Topic
from storage.records import BlobRecord

_COLUMNS = "id, tenant, name, language, content_hash, blob_hash, details, created_ms"
# Every voice, to hold in memory.
_ALL = text(f"SELECT {_COLUMNS} FROM voices ORDER BY tenant, name")  # noqa: S608 - constants
_PUT = text(
    f"INSERT INTO voices ({_COLUMNS}) VALUES (:id, :tenant, :name, :language, :content_hash, :blob_hash, "  # noqa: S608
    ":details, :created_ms)"
)
_DELETE = text("DELETE FROM voices WHERE tenant = :tenant AND name = :name RETURNING content_hash")
_COUNT = text("SELECT COUNT(*) FROM voices WHERE tenant = :tenant")
# Takes and cache entries of a tenant's voice are deleted with it, unless another voice of the tenant has the same
# recording.
_IS_GONE = "NOT EXISTS (SELECT 1 FROM voices v WHERE v.tenant = s.tenant AND v.content_hash = s.voice_hash)"
_TABLES = ("takes", "cache_entries")
_GONE = {
    table: text(
        f"SELECT s.tenant, s.voice_hash FROM (SELECT DISTINCT tenant, voice_hash FROM {table} "  # noqa: S608
        f"WHERE voice_hash IS NOT NULL) AS s WHERE {_IS_GONE}"
    )
    for table in _TABLES
}
_SPOKEN = {
    table: text(f"SELECT key FROM {table} WHERE tenant = :tenant AND voice_hash = :voice_hash LIMIT :limit")  # noqa: S608
    for table in _TABLES
}
_FORGET = {
    table: text(f"DELETE FROM {table} AS s WHERE s.key IN :keys AND {_IS_GONE}").bindparams(  # noqa: S608
        bindparam("keys", expanding=True)
    )
    for table in _TABLES
}


class VoiceRecord(msgspec.Struct, frozen=True):
    """An uploaded voice.

    Args:
        content_hash: hash of the stored recording; part of every cache key.
        blob_hash: the recording in the audio store, mono WAV at 24 kHz.
        details: JSON: duration, level, consent note.
    """

    id: str
    tenant: str
    name: str
    language: str | None
    content_hash: str
    blob_hash: str
    details: str
    created_ms: int


class VoiceStore:
    """Voices by tenant and name."""

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()

    async def mark(self) -> int:
        """Return a counter that changes whenever a voice is added or removed, by any process."""
        return await marks.read(self._db, Topic.VOICES)

    async def all(self) -> list[VoiceRecord]:
        """Return every voice of every tenant."""
        return await self._db.read(lambda conn: [VoiceRecord(*row) for row in conn.execute(_ALL)])

    async def add(self, voice: VoiceRecord, blob: BlobRecord, at_most: int) -> None:
        """Add a voice and refer to its recording.

        Args:
            at_most: the most voices a tenant may have.

        Raises:
            Conflict: the tenant has a voice of this name, or has `at_most` voices.
        """

        def put(conn: Connection) -> None:
            if int(conn.execute(_COUNT, {"tenant": voice.tenant}).scalar_one()) >= at_most:
                raise Conflict(f"there are {at_most} voices already, the most allowed; delete one first")
            conn.execute(
                statements.PUT_BLOB,
                {"hash": blob.hash, "suffix": blob.suffix, "size_bytes": blob.size_bytes, "now": voice.created_ms},
            )
            conn.execute(_PUT, msgspec.structs.asdict(voice))
            marks.move(conn, Topic.VOICES)

        try:
            await self._db.writer.run(put)
        except IntegrityError as error:
            raise Conflict(f"a voice named {voice.name!r} exists; delete it first, or choose another name") from error

    async def remove(self, tenant: str, name: str) -> bool:
        """Delete a voice, its takes and its cache entries; the sweeper removes the files. False if there is no such
        voice.

        The voice is deleted first; if the server dies after that, `delete_orphans` deletes the rest.
        """

        def delete(conn: Connection) -> str | None:
            content_hash: str | None = conn.execute(_DELETE, {"tenant": tenant, "name": name}).scalar()
            if content_hash is not None:
                marks.move(conn, Topic.VOICES)
            return content_hash

        content_hash = await self._db.writer.run(delete)
        if content_hash is None:
            return False
        for table in _TABLES:
            await self._delete_spoken(table, tenant, content_hash)
        return True

    async def delete_orphans(self) -> int:
        """Delete takes and cache entries of deleted voices; returns their number. A job that was running when its voice
        was deleted may have stored some after that."""
        deleted = 0
        for table in _TABLES:
            gone = await self._db.read(lambda conn, table=table: conn.execute(_GONE[table]).all())  # type: ignore[misc]
            for tenant, voice_hash in gone:
                deleted += await self._delete_spoken(table, tenant, voice_hash)
        return deleted

    async def _delete_spoken(self, table: str, tenant: str, voice_hash: str) -> int:
        """Delete a voice's takes or cache entries, unless the tenant has the same recording again."""

        def delete(conn: Connection, keys: Sequence[str]) -> int:
            gone = conn.execute(_FORGET[table], {"keys": keys}).rowcount
            if gone and table == "cache_entries":
                statements.move_cache_mark(conn)
            return gone

        batches = Batches(self._db, self._clock)
        page = {"tenant": tenant, "voice_hash": voice_hash, "limit": PAGE}
        deleted = 0
        while True:
            keys = await self._db.read(lambda conn: conn.execute(_SPOKEN[table], page).scalars().all())
            gone = sum(await batches.run(keys, delete))
            if not gone:
                return deleted
            deleted += gone

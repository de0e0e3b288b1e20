"""Voices that somebody uploaded: who owns them, what they are made of."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from gateway.errors import Conflict
from storage import marks, statements
from storage.database import Database
from storage.notices import Topic
from storage.records import BlobRecord

_COLUMNS = "id, tenant, name, language, content_hash, blob_hash, details, created_ms"
# Every voice, for the servers' memory.
_ALL = text(f"SELECT {_COLUMNS} FROM voices ORDER BY tenant, name")  # noqa: S608 - constants
_PUT = text(
    f"INSERT INTO voices ({_COLUMNS}) VALUES (:id, :tenant, :name, :language, :content_hash, :blob_hash, "  # noqa: S608
    ":details, :created_ms)"
)
_DELETE = text("DELETE FROM voices WHERE tenant = :tenant AND name = :name RETURNING blob_hash, content_hash")
_COUNT = text("SELECT COUNT(*) FROM voices WHERE tenant = :tenant")
# What a tenant's voice has spoken is forgotten with it, unless another voice of the tenant is the same recording.
_IS_GONE = "NOT EXISTS (SELECT 1 FROM voices v WHERE v.tenant = s.tenant AND v.content_hash = s.voice_hash)"
_FORGET = {
    table: text(
        f"DELETE FROM {table} AS s WHERE s.tenant = :tenant AND s.voice_hash = :voice_hash AND {_IS_GONE} "  # noqa: S608
        "RETURNING blob_hash, key"
    )
    for table in ("takes", "cache_entries")
}
# A job that was running when its voice went may have stored something since.
_FORGET_ORPHANS = {
    table: text(f"DELETE FROM {table} AS s WHERE s.voice_hash IS NOT NULL AND {_IS_GONE} RETURNING blob_hash, key")  # noqa: S608
    for table in _FORGET
}


class VoiceRecord(msgspec.Struct, frozen=True):
    """An uploaded voice.

    Args:
        content_hash: of its recording as stored; part of every cache key.
        blob_hash: that recording in the audio store, mono WAV at 24 kHz.
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

    def __init__(self, db: Database) -> None:
        self._db = db

    async def mark(self) -> int:
        """Moves whenever a voice was added or removed, by whatever process."""
        return await marks.read(self._db, Topic.VOICES)

    async def all(self) -> list[VoiceRecord]:
        """Every voice of every tenant."""
        return await self._db.read(lambda conn: [VoiceRecord(*row) for row in conn.execute(_ALL)])

    async def add(self, voice: VoiceRecord, blob: BlobRecord, at_most: int) -> None:
        """Keep a voice and refer to its recording.

        Args:
            at_most: how many voices a tenant may have.

        Raises:
            Conflict: the tenant has a voice of this name, or as many as it may have.
        """

        def put(conn: Connection) -> None:
            if int(conn.execute(_COUNT, {"tenant": voice.tenant}).scalar_one()) >= at_most:
                raise Conflict(f"there are {at_most} voices already, which is the most; delete one first")
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

    async def remove(self, tenant: str, name: str, now: int) -> bool:
        """Delete a voice, its takes and its cache entries; the sweeper removes the files. False when there is none."""

        def forget(conn: Connection) -> bool:
            row: Any = conn.execute(_DELETE, {"tenant": tenant, "name": name}).first()
            if row is None:
                return False
            whose = {"tenant": tenant, "voice_hash": row[1]}
            gone = {table: list(conn.execute(statement, whose).all()) for table, statement in _FORGET.items()}
            _release(conn, gone, now)
            statements.release(conn, [row], now)
            marks.move(conn, Topic.VOICES)
            return True

        return await self._db.writer.run(forget)

    async def forget_orphans(self, now: int) -> list[str]:
        """Delete what voices spoke that are gone meanwhile; gives the keys of the cache entries."""

        def forget(conn: Connection) -> list[str]:
            gone = {table: list(conn.execute(statement).all()) for table, statement in _FORGET_ORPHANS.items()}
            _release(conn, gone, now)
            return [row[1] for row in gone["cache_entries"]]

        return await self._db.writer.run(forget)


def _release(conn: Connection, gone: dict[str, list[Any]], now: int) -> None:
    statements.release(conn, [row for rows in gone.values() for row in rows], now)
    if gone["cache_entries"]:
        statements.tell_cache_changed(conn)

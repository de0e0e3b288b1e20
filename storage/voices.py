"""Voices that somebody uploaded: who owns them, what they are made of."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from gateway.errors import Conflict
from storage import statements
from storage.database import Database
from storage.notices import Topic, tell
from storage.records import BlobRecord

_COLUMNS = "id, tenant, name, language, content_hash, blob_hash, details, created_ms"
# Every voice, for the servers' memory.
_ALL = text(f"SELECT {_COLUMNS} FROM voices ORDER BY tenant, name")  # noqa: S608 - constants
_PUT = text(
    f"INSERT INTO voices ({_COLUMNS}) VALUES (:id, :tenant, :name, :language, :content_hash, :blob_hash, "  # noqa: S608
    ":details, :created_ms)"
)
_DELETE = text("DELETE FROM voices WHERE tenant = :tenant AND name = :name RETURNING blob_hash")


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

    async def all(self) -> list[VoiceRecord]:
        """Every voice of every tenant."""
        return await self._db.read(lambda conn: [VoiceRecord(*row) for row in conn.execute(_ALL)])

    async def add(self, voice: VoiceRecord, blob: BlobRecord) -> None:
        """Keep a voice and refer to its recording.

        Raises:
            Conflict: the tenant has a voice of this name.
        """

        def put(conn: Connection) -> None:
            conn.execute(
                statements.PUT_BLOB,
                {"hash": blob.hash, "suffix": blob.suffix, "size_bytes": blob.size_bytes, "now": voice.created_ms},
            )
            conn.execute(_PUT, msgspec.structs.asdict(voice))
            tell(conn, Topic.VOICES)

        try:
            await self._db.writer.run(put)
        except IntegrityError as error:
            raise Conflict(f"a voice named {voice.name!r} exists; delete it first, or choose another name") from error

    async def remove(self, tenant: str, name: str, now: int) -> bool:
        """Delete a voice; the sweeper removes its recording. False when there is none."""

        def forget(conn: Connection) -> int:
            rows: list[Any] = list(conn.execute(_DELETE, {"tenant": tenant, "name": name}).all())
            tell(conn, Topic.VOICES)
            return statements.release(conn, rows, now)

        return await self._db.writer.run(forget) > 0

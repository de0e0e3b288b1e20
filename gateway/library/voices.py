"""Keeps the voices of tenants: makes them from recordings, finds them by name, deletes them.

Recordings are personal data: a voice belongs to one tenant, its audio is never shared through the cache, and it is made
only with a note of the speaker's consent.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from backends.interface import Material, Voice
from gateway.clock import Clock
from gateway.engines.dsp import Dsp
from gateway.engines.errors import ChunkRefused
from gateway.errors import InvalidInput, NotFound
from gateway.speech.sound.reference import Reference, prepare_reference
from gateway.speech.text.language import normalize_language
from storage.errors import BlobMissing, translated
from storage.files.audio import AudioStore, StoredAudio
from storage.records import BlobRecord
from storage.voices import VoiceRecord, VoiceStore

MAX_UPLOAD_BYTES = 20_000_000
MAX_CONSENT_CHARS = 1_000
MAX_VOICES = 500
"""Most voices of one tenant."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class UploadedVoice(msgspec.Struct, frozen=True):
    """An uploaded voice as its owner sees it."""

    name: str
    language: str | None
    duration_s: float
    level_dbfs: float
    consent: str
    created_ms: int
    warnings: tuple[str, ...] = ()


class _Details(msgspec.Struct, frozen=True):
    duration_s: float
    level_dbfs: float
    consent: str
    warnings: tuple[str, ...] = ()


class VoiceLibrary:
    """Keeps uploaded voices in memory by tenant and name; call `refresh` when the database has changed.

    Args:
        on_change: called when voices were added or removed; its argument is True if one was removed.
    """

    def __init__(
        self,
        store: VoiceStore,
        audio: AudioStore,
        dsp: Dsp,
        clock: Clock,
        on_change: Callable[[bool], None] = lambda gone: None,
    ) -> None:

        self._on_change = on_change
        self._store = store
        self._audio = audio
        self._dsp = dsp
        self._clock = clock
        self._voices: dict[tuple[str, str], VoiceRecord] = {}
        self._changes = 0
        self._mark = -1

    async def refresh(self) -> bool:
        """Read the voices of the database again if some were added or removed; return whether they changed."""
        mark = await self._store.mark()
        if mark == self._mark:
            return False
        while True:
            changes = self._changes
            voices = {(record.tenant, record.name): record for record in await self._store.all()}
            if changes == self._changes:  # else they may have been read before a change that we made meanwhile
                break
        changed = voices != self._voices
        gone = any(voices.get(key) != record for key, record in self._voices.items())
        self._voices = voices
        self._mark = mark
        if changed:
            self._changes += 1  # so that a call of `refresh` that began earlier reads again
            self._on_change(gone)
        return changed

    def find(self, tenant: str, name: str) -> Voice | None:
        """Return a tenant's voice as backends get it (`material` is its recording); None if unknown."""
        record = self._voices.get((tenant, name))
        if record is None:
            return None
        return Voice(
            name=record.name,
            languages=(record.language or "*",),
            content_hash=record.content_hash,
            material=Material(record.blob_hash),
        )

    def names(self, tenant: str) -> list[str]:
        """Return the names of a tenant's voices."""
        return [name for owner, name in self._voices if owner == tenant]

    def all(self, tenant: str) -> list[UploadedVoice]:
        """Return a tenant's voices, sorted by name."""
        return [_as_uploaded_voice(record) for (owner, _), record in sorted(self._voices.items()) if owner == tenant]

    async def add(
        self, tenant: str, name: str, recording: bytes, consent: str, language: str | None = None
    ) -> UploadedVoice:
        """Make a voice from a recording.

        Args:
            name: 1 to 64 letters, digits, dots, dashes and underscores.
            recording: WAV, MP3, FLAC or OGG, 3 to 60 s, at most 20 MB.
            consent: a note of who agreed to what; required.
            language: the BCP 47 tag of the recording, for people; the voice may speak others.

        Raises:
            InvalidInput: name, consent, language or recording cannot be used; says why.
            Conflict: the tenant has a voice of this name, or MAX_VOICES voices.
            StorageError: the recording cannot be stored.
        """
        if not _NAME.fullmatch(name) or name == "default":
            raise InvalidInput(
                f"a voice cannot be named {name[:80]!r}: use 1 to 64 letters, digits, dots, dashes and underscores, "
                "and not 'default'"
            )
        consent = consent.strip()
        if not consent or len(consent) > MAX_CONSENT_CHARS:
            raise InvalidInput(
                "consent is missing: say who agreed that this voice is used, and when "
                f"(1 to {MAX_CONSENT_CHARS} characters)"
            )
        if len(recording) > MAX_UPLOAD_BYTES:
            raise InvalidInput(f"the recording has {len(recording)} bytes; at most {MAX_UPLOAD_BYTES} are allowed")
        if language is not None:
            language = normalize_language(language)
        source, target = self._audio.spools.new(), self._audio.spools.new()
        with translated(str(self._audio.root)):
            try:
                blob, reference = await self._prepared(tenant, recording, source, target)
                details = _Details(reference.duration_s, reference.level_dbfs, consent, reference.warnings)
                record = VoiceRecord(
                    id=f"{tenant}/{name}",
                    tenant=tenant,
                    name=name,
                    language=language,
                    content_hash=blob.hash,
                    blob_hash=blob.hash,
                    details=msgspec.json.encode(details).decode(),
                    created_ms=self._clock.now_ms(),
                )
                await self._store.add(record, blob, MAX_VOICES)
                await self._audio.settle(blob)
            finally:
                await asyncio.to_thread(_remove_files, source, target)
        self._changes += 1
        self._voices[tenant, name] = record
        self._on_change(False)
        return _as_uploaded_voice(record)

    async def _prepared(
        self, tenant: str, recording: bytes, source: Path, target: Path
    ) -> tuple[BlobRecord, Reference]:
        await asyncio.to_thread(source.write_bytes, recording)
        try:
            reference = await self._dsp.run(prepare_reference, source, target, lane="uploads", owner=tenant)
        except ChunkRefused as error:
            raise InvalidInput(f"the recording cannot be decoded ({error}); export it again as WAV") from error
        return await self._audio.put_file(target, ".wav"), reference

    async def recording(self, tenant: str, name: str) -> StoredAudio:
        """Return a voice's recording, mono WAV at 24 kHz.

        Raises:
            NotFound: the tenant has no such voice, or its recording is lost.
        """
        record = self._own_record(tenant, name)
        try:
            return await self._audio.stored(record.blob_hash)
        except BlobMissing as error:
            raise NotFound(lost_recording(name)) from error

    async def remove(self, tenant: str, name: str) -> None:
        """Delete a voice, its recording, and its audio in the cache. Finished jobs keep their audio until they are
        deleted.

        Raises:
            NotFound: the tenant has no such voice.
        """
        self._own_record(tenant, name)
        await self._store.remove(tenant, name)
        self._changes += 1
        self._voices.pop((tenant, name), None)
        self._on_change(True)

    def _own_record(self, tenant: str, name: str) -> VoiceRecord:
        record = self._voices.get((tenant, name))
        if record is None:
            raise NotFound(f"there is no voice {name[:64]!r}; yours are: {', '.join(self.names(tenant)) or 'none'}")
        return record


def lost_recording(name: str) -> str:
    """Return the error message about a voice whose recording is missing or damaged."""
    return (
        f"the recording of voice {name!r} is damaged or missing on the server: delete the voice and upload it again, "
        "or restore the server's audio folder from a backup"
    )


def _as_uploaded_voice(record: VoiceRecord) -> UploadedVoice:
    details = msgspec.json.decode(record.details, type=_Details)
    return UploadedVoice(
        record.name,
        record.language,
        details.duration_s,
        details.level_dbfs,
        details.consent,
        record.created_ms,
        details.warnings,
    )


def _remove_files(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)

"""Structs that describe bodies and answers in the OpenAPI document, for handlers that send ready bytes."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.jobs.model.output import OutputWarning
from gateway.jobs.model.views import Policy, Progress
from gateway.library.voices import UploadedVoice
from gateway.speech.encode.render import ChunkTime, MarkTime, SpokenWord
from gateway.speech.request import SpeechInput
from gateway.speech.text.lexicon import Pronunciation
from storage.usage import UsageTotal


class SpeechEnvelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of `/run` and `/runsync`. Unknown keys beside `input` are ignored, inside it they are refused."""

    input: SpeechInput
    webhook: str | None = None
    policy: Policy | None = None


class SpeechOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """The speech of a COMPLETED job.

    `audio_url` is always there. `audio_base64` is there for audio up to the server's `max_inline_bytes`, unless
    `delivery` is `url`. With `input.words` there are `words`, or, if they are many, `words_url` of a JSON file of them.
    """

    audio_url: str
    mimetype: str
    duration_ms: int
    cache_hit: bool
    cache_key: str
    chunks_processed: int
    generation_time_ms: int
    backend: str
    voice: str
    sample_rate: int
    audio_base64: str | UnsetType = UNSET
    cost_usd: float | None = None
    chunks: tuple[ChunkTime, ...] = ()
    warnings: tuple[OutputWarning, ...] = ()
    takes_retried: int | UnsetType = UNSET
    marks: tuple[MarkTime, ...] | UnsetType = UNSET
    words: tuple[SpokenWord, ...] | UnsetType = UNSET
    words_url: str | UnsetType = UNSET


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job. Bad input gives a FAILED job with HTTP status 200. Times are in milliseconds."""

    id: str
    status: Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]
    delayTime: int | UnsetType = UNSET
    executionTime: int | UnsetType = UNSET
    workerId: str | UnsetType = UNSET
    output: SpeechOutput | UnsetType = UNSET
    error: str | UnsetType = UNSET
    retries: int | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    progress: Progress | UnsetType = UNSET


class Purged(msgspec.Struct, frozen=True):
    """The number of queued jobs that were removed."""

    removed: int
    status: Literal["completed"] = "completed"


class NewVoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recording to make a voice from.

    Args:
        consent: the person who agreed that this voice is used, and when.
        audio_base64: WAV, MP3, FLAC or OGG, 3 to 60 seconds.
        language: BCP 47 tag of the language in the recording.
    """

    name: str
    consent: str
    audio_base64: bytes
    language: str | None = None


class OwnVoice(msgspec.Struct, frozen=True, omit_defaults=True):
    """A voice that the key's tenant uploaded. `consent` is shown to keys with the scope `voices`."""

    name: str
    language: str | None
    duration_s: float
    level_dbfs: float
    created_ms: int
    backends: tuple[str, ...]
    consent: str | UnsetType = UNSET
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, voice: UploadedVoice, backends: tuple[str, ...], *, consent: bool) -> OwnVoice:
        """Describe an uploaded voice. `backends` are those that can speak with it."""
        return cls(
            voice.name,
            voice.language,
            voice.duration_s,
            voice.level_dbfs,
            voice.created_ms,
            backends,
            voice.consent if consent else UNSET,
            voice.warnings,
        )


class VoiceInfo(msgspec.Struct, frozen=True):
    """A voice to request with `voice`, and with `backend` too if several backends have a voice of that name."""

    name: str
    backend: str
    languages: tuple[str, ...]
    description: str
    gender: Literal["female", "male", "neutral", ""]


class Voices(msgspec.Struct, frozen=True):
    """The voices of the available backends, each backend's default first, and those of the tenant."""

    voices: tuple[VoiceInfo, ...]
    own: tuple[OwnVoice, ...]


class Deleted(msgspec.Struct, frozen=True):
    """The name of the voice that was deleted."""

    deleted: str


class NewPronunciations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Entries to set.

    Args:
        version: the version that these entries are based on. If the dictionary has another one now, the answer is 409.
    """

    entries: tuple[Pronunciation, ...]
    version: int | None = None


class Ready(msgspec.Struct, frozen=True):
    """The server takes jobs. `checks` lists what was checked."""

    status: Literal["ready"]
    checks: dict[str, str] = {}


class Live(msgspec.Struct, frozen=True):
    """The process answers."""

    status: Literal["live"] = "live"


class UsageOfDay(msgspec.Struct, frozen=True):
    """The usage of one endpoint and one backend on one day (UTC)."""

    day: str
    endpoint: str
    backend: str
    characters: int
    audio_ms: int
    jobs: int
    cache_hits: int
    cost_usd: float

    @classmethod
    def of(cls, row: UsageTotal) -> UsageOfDay:
        """Convert a row of the usage table."""
        return cls(
            row.day,
            row.endpoint_id,
            row.backend,
            row.characters,
            row.audio_ms,
            row.jobs,
            row.cache_hits,
            row.cost_usd,
        )


class Usage(msgspec.Struct, frozen=True):
    """The usage of a tenant since a day, that day included."""

    tenant: str
    since: str
    usage: tuple[UsageOfDay, ...]

"""Structs that describe bodies and answers in the OpenAPI document, for handlers that send ready bytes."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from gateway.jobs.lists import State
from gateway.jobs.model.output import Meta
from gateway.jobs.model.views import JobView, Policy
from gateway.library.voices import UploadedVoice
from gateway.speech.request import SpeechInput
from gateway.speech.text.lexicon import Pronunciation
from storage.usage import UsageTotal


class SpeechEnvelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of `/run` and `/runsync`. Unknown keys beside `input` are ignored, inside it they are refused."""

    input: SpeechInput
    webhook: str | None = None
    policy: Policy | None = None


class SpeechOutput(Meta, frozen=True, kw_only=True):
    """The speech of a COMPLETED job.

    `audio_url` is always there. `audio_base64` is there for audio up to the server's `max_inline_bytes`, unless
    `delivery` is `url`. With `input.words` there are `words`, or, if they are many, `words_url` of a JSON file of them.
    """

    audio_url: str
    audio_base64: str | UnsetType = UNSET


class Job(JobView, frozen=True, omit_defaults=True):
    """A job. Bad input gives a FAILED job with HTTP status 200. Times are in milliseconds."""

    status: State
    output: SpeechOutput | UnsetType = UNSET  # type: ignore[assignment] # a view has the JSON of it


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


class OwnVoice(UploadedVoice, frozen=True, omit_defaults=True, kw_only=True):
    """A voice that the key's tenant uploaded. `consent` is shown to keys with the scope `voices`."""

    backends: tuple[str, ...]
    consent: str | UnsetType = UNSET  # type: ignore[assignment]

    @classmethod
    def of(cls, voice: UploadedVoice, backends: tuple[str, ...], *, consent: bool) -> OwnVoice:
        """Describe an uploaded voice. `backends` are those that can speak with it."""
        shown = msgspec.structs.asdict(voice) | {"consent": voice.consent if consent else UNSET}
        return cls(**shown, backends=backends)


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
            day=row.day,
            endpoint=row.endpoint_id,
            backend=row.backend,
            characters=row.characters,
            audio_ms=row.audio_ms,
            jobs=row.jobs,
            cache_hits=row.cache_hits,
            cost_usd=row.cost_usd,
        )


class Usage(msgspec.Struct, frozen=True):
    """The usage of a tenant since a day, that day included."""

    tenant: str
    since: str
    usage: tuple[UsageOfDay, ...]

"""The speech request that every surface decodes into."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from gateway.errors import InvalidInput
from gateway.speech.text.plan import FASTEST, SLOWEST, Segment, Speak

AudioFormat: TypeAlias = Literal["mp3", "wav", "pcm", "flac", "opus", "aac"]
CacheUse: TypeAlias = Literal["use", "refresh", "off"]
Normalize: TypeAlias = Literal["auto", "on", "off"]
AudioDelivery: TypeAlias = Literal["inline", "url"]

NO_WORD_TIMES = "no_word_times"
"""Code of the warning that word times were requested and the backend gives none."""


class SpeechInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The `input` of the job API.

    Args:
        text: any length, not empty.
        speed: 0.5 to 2.0; 2.0 halves the duration.
        language: a BCP 47 tag as the caller wrote it; compare with `language_matches`.
        seed: 0 to 2**63 - 1; absent means 0.
        options: the backend's own request options, checked against its `RequestOptions`.
        bitrate: of MP3, Opus and AAC in kbit/s; absent means the format's default.
        loudness: the gated level of the audio in dBFS (-40 to -10), reached with one gain for the whole request.
        normalize: spell out numbers, dates, money and abbreviations before they are spoken; `auto` does so for
            backends that want it.
        strict: a feature of the request that cannot be honoured is an error instead of a warning.
        words: the answer has the time of each word.
    """

    text: str
    format: AudioFormat = "mp3"
    speed: float = 1.0
    voice: str = "default"
    language: str = "en"
    seed: int | None = None
    backend: str | None = None
    options: dict[str, Any] = {}
    bitrate: int | None = None
    cache: CacheUse = "use"
    delivery: AudioDelivery | None = None
    loudness: float | None = None
    normalize: Normalize = "auto"
    strict: bool = False
    words: bool = False


class SpeechRequest(SpeechInput, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request for speech, as every surface decodes it.

    Args:
        segments: the text in segments, as a parser of markup gives it; `text` then holds their words. Empty for plain
            text.
    """

    segments: tuple[Segment, ...] = ()


def check_speeds(request: SpeechRequest) -> None:
    """Check the speed of each segment.

    Raises:
        InvalidInput: a segment's rate makes its speech too slow or too fast.
    """
    for segment in request.segments:
        if isinstance(segment, Speak) and not SLOWEST <= request.speed * segment.rate <= FASTEST:
            raise InvalidInput(
                f"a rate of {segment.rate:g} at speed {request.speed:g} is {request.speed * segment.rate:g}; "
                f"together they must be between {SLOWEST} and {FASTEST}"
            )

"""The speech request that every surface decodes into."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from gateway.errors import InvalidInput
from gateway.speech.text.plan import FASTEST, SLOWEST, Segment, Speak

AudioFormat: TypeAlias = Literal["mp3", "wav", "pcm", "flac", "opus", "aac"]
CacheUse: TypeAlias = Literal["use", "refresh", "off"]
Normalize: TypeAlias = Literal["auto", "on", "off"]
AudioDelivery: TypeAlias = Literal["inline", "url"]
Text: TypeAlias = Annotated[str, Meta(extra={"words": "a string"})]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, extra={"words": "a name"})]
Speed: TypeAlias = Annotated[float, Meta(ge=SLOWEST, le=FASTEST)]
LanguageTag: TypeAlias = Annotated[str, Meta(extra={"words": "a BCP 47 tag such as 'en' or 'en-US'"})]
Seed: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1, extra={"words": "a whole number"})]
Options: TypeAlias = Annotated[dict[str, Any], Meta(extra={"words": "an object with the backend's own options"})]
Bitrate: TypeAlias = Annotated[int, Meta(ge=1, le=1000, extra={"words": "a whole number"})]
Loudness: TypeAlias = Annotated[float, Meta(ge=-40.0, le=-10.0)]

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

    text: Text
    format: AudioFormat = "mp3"
    speed: Speed = 1.0
    voice: Name = "default"
    language: LanguageTag = "en"
    seed: Seed | None = None
    backend: Name | None = None
    options: Options = {}
    bitrate: Bitrate | None = None
    cache: CacheUse = "use"
    delivery: AudioDelivery | None = None
    loudness: Loudness | None = None
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

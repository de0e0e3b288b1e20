"""Makes the items of `/stream`: each chunk as one small audio file, or as several if one would be too large."""

from __future__ import annotations

import base64
import math
from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from gateway.jobs.model.output import MIMETYPES
from gateway.speech.encode import default_bitrate, open_encoder
from gateway.speech.encode.render import MarkTime, SpokenWord
from gateway.speech.request import SpeechRequest
from gateway.speech.sound.take import Pcm16
from gateway.speech.speak.reader import ChunkAudio

MAX_ITEM_BYTES = 1_000_000
_HEADER_BYTES = 1_000
_SHARE = 0.85
"""Share of a file that its bitrate explains: headers, frames and pages of AAC and Opus add up to a tenth."""


class StreamOutput(msgspec.Struct, frozen=True):
    """One piece of a job's audio, a complete file. The pieces in order make up the whole audio.

    The marks and words of a chunk are in its first piece; their times are those of the whole audio.
    """

    index: int
    text: str
    audio_base64: str
    mimetype: str
    start_ms: int
    end_ms: int
    marks: tuple[MarkTime, ...] | UnsetType = UNSET
    words: tuple[SpokenWord, ...] | UnsetType = UNSET


def items_of(part: ChunkAudio, request: SpeechRequest, number: int, tmp: Path) -> list[StreamOutput]:
    """Encode a chunk as files of at most MAX_ITEM_BYTES.

    Args:
        number: number of the first item.
        tmp: path of a scratch file; overwritten and removed.

    Raises:
        OSError: there is no room for a file.
    """
    size = part.pcm.size
    step = math.ceil(size / max(1, math.ceil(size / _longest(request, part.rate))))
    at = part.end - size
    items: list[StreamOutput] = []
    try:
        for offset in range(0, max(1, size), max(1, step)):
            for samples, data in _files(part.pcm[offset : offset + step], part.rate, request, tmp):
                items.append(
                    StreamOutput(
                        index=number + len(items),
                        text="" if items else part.text,
                        audio_base64=base64.b64encode(data).decode(),
                        mimetype=MIMETYPES[request.format],
                        start_ms=round(at * 1000 / part.rate),
                        end_ms=round((at + samples) * 1000 / part.rate),
                        marks=UNSET if items else part.marks or UNSET,
                        words=UNSET if items or not request.words else part.words or UNSET,
                    )
                )
                at += samples
    finally:
        tmp.unlink(missing_ok=True)
    return items


def _longest(request: SpeechRequest, rate: int) -> int:
    """Return the number of samples that make a file of nearly MAX_ITEM_BYTES."""
    default = default_bitrate(request.format)
    if default is None:  # FLAC is almost always smaller than its samples
        return (MAX_ITEM_BYTES - _HEADER_BYTES) // 2
    return int(_SHARE * MAX_ITEM_BYTES * rate / ((request.bitrate or default) * 125))


def _files(pcm: Pcm16, rate: int, request: SpeechRequest, tmp: Path) -> list[tuple[int, bytes]]:
    """Encode samples; return samples and bytes of each file. A file above MAX_ITEM_BYTES is split in halves."""
    encoder = open_encoder(request.format, tmp, rate, request.bitrate)
    try:
        encoder.write(pcm)
        encoder.finish()
    except BaseException:
        encoder.abandon()
        raise
    data = tmp.read_bytes()
    if len(data) <= MAX_ITEM_BYTES or pcm.size < 2:
        return [(pcm.size, data)]
    middle = pcm.size // 2
    return _files(pcm[:middle], rate, request, tmp) + _files(pcm[middle:], rate, request, tmp)

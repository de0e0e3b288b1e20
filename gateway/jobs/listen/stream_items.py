"""What `/stream` gives: every chunk as a small file, or as several where one would be too large."""

from __future__ import annotations

import base64
import math
from pathlib import Path

import msgspec

from gateway.jobs.model.output import MIMETYPES
from gateway.speech.encode import default_bitrate, open_encoder
from gateway.speech.request import SpeechRequest
from gateway.speech.sound.take import Pcm16
from gateway.speech.speak.reader import ChunkAudio

MAX_ITEM_BYTES = 1_000_000
_HEADER_BYTES = 1_000
_SHARE = 0.85
"""Of a file with a bitrate that is its bits: headers, frames and pages of AAC and Opus take up to a tenth more."""


class StreamOutput(msgspec.Struct, frozen=True):
    """One piece of a job's audio: a file of its own. Joined in order the pieces are the whole."""

    index: int
    text: str
    audio_base64: str
    mimetype: str
    start_ms: int
    end_ms: int


def items_of(part: ChunkAudio, request: SpeechRequest, number: int, tmp: Path) -> list[StreamOutput]:
    """A chunk as files of at most MAX_ITEM_BYTES.

    Args:
        number: of the first.
        tmp: is written over and removed.
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
                    )
                )
                at += samples
    finally:
        tmp.unlink(missing_ok=True)
    return items


def _longest(request: SpeechRequest, rate: int) -> int:
    """Samples that make a file of nearly MAX_ITEM_BYTES."""
    default = default_bitrate(request.format)
    if default is None:  # FLAC is smaller than its samples, as good as always
        return (MAX_ITEM_BYTES - _HEADER_BYTES) // 2
    return int(_SHARE * MAX_ITEM_BYTES * rate / ((request.bitrate or default) * 125))


def _files(pcm: Pcm16, rate: int, request: SpeechRequest, tmp: Path) -> list[tuple[int, bytes]]:
    """Samples and bytes of each file. What a codec makes larger than it should be is cut in halves."""
    encoder = open_encoder(request.format, tmp, rate, request.bitrate)
    encoder.write(pcm)
    encoder.finish()
    data = tmp.read_bytes()
    if len(data) <= MAX_ITEM_BYTES or pcm.size < 2:
        return [(pcm.size, data)]
    middle = pcm.size // 2
    return _files(pcm[:middle], rate, request, tmp) + _files(pcm[middle:], rate, request, tmp)

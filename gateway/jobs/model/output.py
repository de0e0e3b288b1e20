"""The `output` of a finished job: stored as the JSON of `Meta`, without audio.

An answer puts the audio in front of it, as base64 or as a signed address. The pieces are joined as bytes: decoding
and encoding megabytes of base64 for every answer would be most of its cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.speech.encode.render import ChunkTime, MarkTime, SpokenWord
from storage.errors import BlobMissing
from storage.files.audio import AudioStore

MIMETYPES = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "aac": "audio/aac",
}


class OutputWarning(msgspec.Struct, frozen=True):
    """A warning: an option that could not be applied, or an unexpected event."""

    code: str
    message: str


class CacheEntry(msgspec.Struct, frozen=True):
    """A cache entry as answers need it.

    Args:
        output: JSON without audio, `cache_hit` true.
    """

    key: str
    output: bytes
    blob_hash: str
    suffix: str
    size_bytes: int


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """An output without its audio. RunPod's Chatterbox worker named the fields; our own fields follow them.

    `words_url` is the first, so that an answer with a file of word times is known by its first bytes.
    """

    words_url: str | msgspec.UnsetType = msgspec.UNSET
    mimetype: str
    duration_ms: int
    cache_hit: bool
    cache_key: str
    chunks_processed: int
    generation_time_ms: int
    backend: str
    voice: str
    sample_rate: int
    cost_usd: float
    chunks: tuple[ChunkTime, ...]
    warnings: tuple[OutputWarning, ...] = ()
    takes_retried: int | msgspec.UnsetType = msgspec.UNSET
    marks: tuple[MarkTime, ...] | msgspec.UnsetType = msgspec.UNSET
    words: tuple[SpokenWord, ...] | msgspec.UnsetType = msgspec.UNSET


WORDS_SUFFIX = ".json"
_WORDS_URL = b'{"words_url":"'
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def stored(
    *,
    mimetype: str,
    samples: int,
    sample_rate: int,
    cache_key: str,
    generation_time_ms: int,
    backend: str,
    voice: str,
    cost_usd: float,
    chunks: tuple[ChunkTime, ...],
    warnings: tuple[OutputWarning, ...],
    own_warnings: tuple[OutputWarning, ...],
    takes_retried: int = 0,
    marks: tuple[MarkTime, ...] = (),
    words: tuple[SpokenWord, ...] | str = (),
) -> tuple[str, str]:
    """Return two outputs as JSON: that of the job that was spoken, and that of later answers from the cache.

    Args:
        warnings: about the audio; in both outputs.
        own_warnings: about this request; in the first output only.
        takes_retried: number of takes spoken again because they were flawed; in the first output only.
        marks: in both outputs if there are any.
        words: in both outputs if there are any; a string is the hash of their file.
    """
    meta = Meta(
        words_url=words + WORDS_SUFFIX if isinstance(words, str) else msgspec.UNSET,
        mimetype=mimetype,
        duration_ms=round(samples * 1000 / sample_rate),
        cache_hit=False,
        cache_key=cache_key,
        chunks_processed=len(chunks),
        generation_time_ms=generation_time_ms,
        backend=backend,
        voice=voice,
        sample_rate=sample_rate,
        cost_usd=cost_usd,
        chunks=chunks,
        warnings=(*own_warnings, *warnings),
        takes_retried=takes_retried or msgspec.UNSET,
        marks=marks or msgspec.UNSET,
        words=msgspec.UNSET if isinstance(words, str) else words or msgspec.UNSET,
    )
    hit = msgspec.structs.replace(
        meta,
        cache_hit=True,
        generation_time_ms=0,
        cost_usd=0.0,
        warnings=warnings,
        takes_retried=msgspec.UNSET,
    )
    return _encode(meta).decode(), _encode(hit).decode()


class _Words(msgspec.Struct):
    words: tuple[SpokenWord, ...] = ()
    words_url: str = ""


_decode_words = msgspec.json.Decoder(_Words).decode
_decode_file = msgspec.json.Decoder(tuple[SpokenWord, ...]).decode


async def words_of(output: str, audio: AudioStore) -> tuple[SpokenWord, ...]:
    """Return the word times of a stored output, from their file if they have one; none if that is lost."""
    found = _decode_words(output)
    if not found.words_url:
        return found.words
    try:
        return _decode_file(await audio.read(found.words_url.removesuffix(WORDS_SUFFIX)))
    except BlobMissing:
        return ()


class _Head(msgspec.Struct):
    mimetype: str


_decode_head = msgspec.json.Decoder(_Head).decode
_SUFFIXES = {mimetype: f".{name}" for name, mimetype in MIMETYPES.items()}


def suffix_of(output: str | bytes) -> str:
    """Return the file suffix of an output's audio, with its dot."""
    return _SUFFIXES[_decode_head(output).mimetype]


def warned(output: str, warnings: tuple[tuple[str, str], ...]) -> str:
    """Return the output with the warnings of this request in front of its own."""
    if not warnings:
        return output
    data = _decode(output)
    mine = [{"code": code, "message": message} for code, message in warnings]
    data["warnings"] = mine + [w for w in data.get("warnings", []) if w not in mine]
    return _encode(data).decode()


def split_audio(output: bytes, address: Callable[[str], str], file: str, *, inline: bool) -> tuple[bytes, bytes]:
    """Return the answered output before and after its base64: `audio_base64` (if inline) and `audio_url` come first.

    Args:
        address: returns the signed address of a file, by hash and suffix.
        file: of the audio.
    """
    after = b'"audio_url":' + _encode(address(file)) + b","
    if output.startswith(_WORDS_URL):
        words, _, rest = output.removeprefix(_WORDS_URL).partition(b'"')
        after += b'"words_url":' + _encode(address(words.decode())) + rest
    else:
        after += output[1:]
    return (b'{"audio_base64":"', b'",' + after) if inline else (b"{", after)

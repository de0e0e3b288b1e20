"""Makes the subtitles of a finished job."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

from gateway.errors import Conflict
from gateway.speech.encode.render import ChunkTime, SpokenWord
from gateway.speech.subtitles import Cue, split, srt, vtt
from storage.records import JobRecord, JobState

CaptionFormat: TypeAlias = Literal["srt", "vtt", "json"]
CAPTION_FORMATS: tuple[CaptionFormat, ...] = get_args(CaptionFormat)


class Captions(msgspec.Struct, frozen=True):
    """Subtitles as data. A cue has at most two lines (split by a newline) and does not overlap the next."""

    cues: tuple[Cue, ...]


class _SpokenOutput(msgspec.Struct):
    chunks: tuple[ChunkTime, ...] = ()


_decode = msgspec.json.Decoder(_SpokenOutput).decode


def captions(job: JobRecord, form: CaptionFormat, words: tuple[SpokenWord, ...] = ()) -> bytes:
    """Return a job's subtitles as a file of this format, UTF-8; `words` are its word times.

    Raises:
        Conflict: the job is not COMPLETED; states why, and whether to ask again.
    """
    if job.state is not JobState.COMPLETED or job.output is None:
        raise Conflict(f"there are no subtitles: {_why_not(job)}")
    chunks = [Cue(chunk.start_ms, chunk.end_ms, chunk.text) for chunk in _decode(job.output).chunks]
    match form:
        case "srt":
            return srt(chunks, words).encode()
        case "vtt":
            return vtt(chunks, words).encode()
        case "json":
            return msgspec.json.encode(Captions(split(chunks, words)))


def _why_not(job: JobRecord) -> str:
    if not job.state.final:
        return f"the job is {job.state.value}; ask again when it is COMPLETED"
    return f"the job is {job.state.value}" + (f": {job.error}" if job.error else "")

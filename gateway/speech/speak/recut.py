"""Cuts finished audio into its chunks, for utterances whose takes were deleted or belong to other jobs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import soundfile as sf  # type: ignore[import-untyped]

from gateway.speech.encode.aac import read_aac
from gateway.speech.encode.render import ChunkTime, MarkTime, SpokenWord
from gateway.speech.request import AudioFormat
from gateway.speech.speak.reader import ChunkAudio


class Times(msgspec.Struct, frozen=True):
    """The times in a finished file, as its output has them; `sample_rate` of its PCM is in Hz."""

    sample_rate: int
    chunks: tuple[ChunkTime, ...]
    marks: tuple[MarkTime, ...] = ()
    words: tuple[SpokenWord, ...] = ()


def recut(path: Path, form: AudioFormat, times: Times, index: int) -> ChunkAudio:
    """Read chunk `index` of a finished file with the pause before it; the last chunk has the silence after it, too.

    Args:
        path: a finished file of the format `form`; `pcm` is read as 16-bit little-endian.
    """
    chunks, rate = times.chunks, times.sample_rate
    before = chunks[index - 1].end_ms if index else -1
    last = index == len(chunks) - 1
    marks = tuple(mark for mark in times.marks if before < mark.ms and (last or mark.ms <= chunks[index].start_ms))
    words = tuple(
        word for word in times.words if before < word.end_ms and (last or word.end_ms <= chunks[index].end_ms)
    )
    begin = round(chunks[index - 1].end_ms * rate / 1000) if index else 0
    start = round(chunks[index].start_ms * rate / 1000)
    end = None if last else round(chunks[index].end_ms * rate / 1000)
    if form == "pcm":
        pcm = np.fromfile(path, "<i2", count=-1 if end is None else end - begin, offset=2 * begin)
    elif form == "aac":
        pcm = read_aac(path, begin, end)
    else:
        with sf.SoundFile(path) as file:
            # Opus always decodes at 48 kHz.
            scale = file.samplerate / rate
            file.seek(round(begin * scale))
            pcm = file.read(-1 if end is None else round((end - begin) * scale), dtype="int16")
            rate = file.samplerate
            start = round(start * scale)
            begin = round(begin * scale)
    return ChunkAudio(index, chunks[index].text, pcm, rate, start, begin + pcm.size, marks, words)

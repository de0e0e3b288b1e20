"""Cuts finished audio into its chunks, for utterances whose takes were deleted or belong to other jobs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile as sf  # type: ignore[import-untyped]

from gateway.speech.encode.aac import read_aac
from gateway.speech.encode.render import ChunkTime, MarkTime
from gateway.speech.request import AudioFormat
from gateway.speech.speak.reader import ChunkAudio


def recut(
    path: Path,
    form: AudioFormat,
    times: tuple[ChunkTime, ...],
    rate: int,
    index: int,
    marks: tuple[MarkTime, ...] = (),
) -> ChunkAudio:
    """Read chunk `index` of a finished file with the pause before it; the last chunk has the silence after it, too.

    Args:
        path: a finished file of the format `form`; `pcm` is read as 16-bit little-endian.
        times: of all chunks of the file.
        rate: of its PCM, in Hz.
        marks: of the whole file.
    """
    before = times[index - 1].end_ms if index else -1
    last = index == len(times) - 1
    marks = tuple(mark for mark in marks if before < mark.ms and (last or mark.ms <= times[index].start_ms))
    begin = round(times[index - 1].end_ms * rate / 1000) if index else 0
    start = round(times[index].start_ms * rate / 1000)
    end = None if index == len(times) - 1 else round(times[index].end_ms * rate / 1000)
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
    return ChunkAudio(index, times[index].text, pcm, rate, start, begin + pcm.size, marks)

"""Decodes and checks the recording of a voice, and converts it to one form.

Runs in the signal-processing worker: a caller's file is never decoded in the process that answers requests. The
header is read first, so that a small file that claims ten hours is refused before any sample is decoded. Some headers
have no length, since the file was written to a pipe, and MP3's is an estimate: those files are decoded to their end,
or to the longest allowed length.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import soundfile as sf  # type: ignore[import-untyped]
import soxr  # type: ignore[import-untyped]

from gateway.errors import InvalidInput
from gateway.speech.sound.loudness import LevelMeter
from gateway.speech.sound.take import to_wav
from gateway.speech.sound.trim import fade, speech_span

RATE = 24_000
MIN_S, MAX_S = 3.0, 60.0
MAX_CHANNELS = 8
RATES = (8_000, 192_000)
CONTAINERS = {"WAV": "wav", "WAVEX": "wav", "FLAC": "flac", "OGG": "ogg", "MP3": "mp3", "MPEG": "mp3"}
TOO_SOFT_DBFS = -45.0
CLIPPED_SHARE = 0.01
_UNKNOWN_FRAMES = 1 << 48


class _Recording(sf.SoundFile):  # type: ignore[misc] # the library has no types
    """A file that is read once, from its beginning: seeking fails if the header has no length."""

    def seekable(self) -> bool:
        return False


class Reference(msgspec.Struct, frozen=True):
    """A recording that can be used.

    Args:
        duration_s: after the silence around the speech was cut.
        level_dbfs: gated level, see `LevelMeter`.
        warnings: faults that lower the quality of the voice.
    """

    duration_s: float
    level_dbfs: float
    warnings: tuple[str, ...]


def prepare_reference(source: Path, target: Path) -> Reference:
    """Decode `source`, check it, and write it as mono 16-bit WAV at 24 kHz to `target`.

    Args:
        source: WAV, FLAC, OGG or MP3 of 3 to 60 seconds.

    Raises:
        InvalidInput: the recording cannot be used; says why, and what is allowed.
    """
    pcm, rate = _decode(source)
    warnings = []
    peak = max(float(pcm.max()), -float(pcm.min()))
    if peak > 1.0:
        pcm = (pcm.astype(np.float64) / peak).astype(np.float32)
        shown = f"{20 * math.log10(peak):.1f} dB"
        warnings.append(f"its samples were up to {shown} above full scale: all were lowered by as much")
    begin, end = speech_span(pcm, rate)
    pcm = soxr.resample(pcm[begin:end], rate, RATE, quality="VHQ")
    seconds = pcm.size / RATE
    if seconds < MIN_S:
        raise InvalidInput(
            f"the recording holds {seconds:.1f} s of speech once the silence around it is cut; it needs {MIN_S:g} to "
            f"{MAX_S:g} s"
        )
    samples = np.rint(np.clip(pcm, -1.0, 1.0) * 32767).astype(np.int16)
    meter = LevelMeter(RATE)
    meter.add(samples)
    level = meter.level()
    if level < TOO_SOFT_DBFS:
        shown = "silent" if math.isinf(level) else f"too soft ({level:.0f} dBFS; at least {TOO_SOFT_DBFS:g})"
        raise InvalidInput(f"the recording is {shown}: record closer to the microphone, without normalising noise")
    if rate < 16_000:
        warnings.append(f"recorded at {rate} Hz: the voice will sound muffled; 24000 Hz or more is better")
    if float(np.mean(np.abs(samples) >= 32_700)) > CLIPPED_SHARE:
        warnings.append("more than 1 % of its samples are clipped: the voice will sound distorted")
    fade(samples, RATE, begin=True, end=True)
    # Encoded in memory, since the library does not say why it cannot write a file, and a full disk must be reported.
    target.write_bytes(to_wav(samples, RATE))
    return Reference(round(seconds, 2), round(level, 1), tuple(warnings))


def _decode(source: Path) -> tuple[npt.NDArray[np.float32], int]:
    _fill_in_length(source)
    try:
        with _Recording(source) as file:
            if file.format not in CONTAINERS:
                raise InvalidInput(f"the recording is {file.format}; send WAV, FLAC, OGG or MP3")
            rate, channels = int(file.samplerate), int(file.channels)
            if not RATES[0] <= rate <= RATES[1] or channels > MAX_CHANNELS:
                raise InvalidInput(
                    f"the recording has {channels} channels at {rate} Hz; at most {MAX_CHANNELS} channels at "
                    f"{RATES[0]} to {RATES[1]} Hz are allowed"
                )
            claimed = file.frames / rate
            if claimed > MAX_S and _knows_length(file):
                raise InvalidInput(f"the recording lasts {claimed:.0f} s; it needs {MIN_S:g} to {MAX_S:g} s")
            # The header may be wrong, so no more than this is decoded.
            limit = int(MAX_S * rate) + 1
            pcm = _mono(file, limit)
    except sf.SoundFileError as error:
        raise InvalidInput("the recording cannot be decoded; send WAV, FLAC, OGG or MP3") from error
    if pcm.size >= limit:
        raise InvalidInput(f"the recording lasts more than {MAX_S:g} s; it needs {MIN_S:g} to {MAX_S:g} s")
    if pcm.size < MIN_S * rate:
        raise InvalidInput(f"the recording lasts {pcm.size / rate:.1f} s; it needs {MIN_S:g} to {MAX_S:g} s")
    if not bool(np.isfinite(pcm).all()):
        raise InvalidInput("the recording has samples that are not numbers; export it again as 16-bit WAV")
    return pcm, rate


def _knows_length(file: sf.SoundFile) -> bool:
    """Return whether the length in the header can be trusted: MP3's is an estimate, and FLAC's may be 'unknown'."""
    return CONTAINERS[file.format] != "mp3" and file.frames < _UNKNOWN_FRAMES


def _fill_in_length(source: Path) -> None:
    """Fill in the data size of a WAV file that was written to a pipe and says 0 (0xFFFFFFFF can be read as it is)."""
    with source.open("r+b") as file:
        if file.read(4) != b"RIFF":
            return
        size = file.seek(0, os.SEEK_END)
        at = 12
        while at + 8 <= size:
            file.seek(at)
            name, length = struct.unpack("<4sI", file.read(8))
            if name == b"data":
                if length == 0:
                    file.seek(at + 4)
                    file.write(struct.pack("<I", size - at - 8))
                return
            at += 8 + length + length % 2


def _mono(file: sf.SoundFile, limit: int) -> npt.NDArray[np.float32]:
    """Read at most `limit` frames and mix their channels, a second at a time: 8 channels at 192 kHz take 370 MB."""
    pcm = np.empty(limit, np.float32)
    have = 0
    while have < limit:
        block = file.read(min(limit - have, int(file.samplerate)), dtype="float32", always_2d=True)
        if not len(block):
            break
        pcm[have : have + len(block)] = block.mean(axis=1, dtype=np.float64)
        have += len(block)
    return pcm[:have]

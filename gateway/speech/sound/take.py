"""Checks a new take, rounds it to 16 bits once, and writes it as FLAC or WAV."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import soundfile as sf  # type: ignore[import-untyped]

from backends.interface import FailureKind
from gateway.errors import SynthesisFailed

Pcm16: TypeAlias = npt.NDArray[np.int16]
"""Mono samples, shape (n,)."""

RejectionReason: TypeAlias = Literal["malformed", "empty", "not_finite", "silent"]

_SILENT_PEAK = 0.001  # -60 dBFS: no voice is that soft, while some engines dither
_WAV = struct.Struct("<4sI8sIHHIIHH4sI")
_FLAC_LEVEL = 0.0  # the fastest; a take is read once or twice and then evicted


class TakeRejected(SynthesisFailed):
    """The engine's samples cannot be used as a take.

    Args:
        reason: of the rejection.

    Attributes:
        kind: the reason as a failure kind of the plugin contract; `empty` means that the voice does not know the
            script.
        retryable: True if another seed may help.
    """

    def __init__(self, reason: RejectionReason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.kind: FailureKind = "unsupported_text" if reason == "empty" else "failed"
        self.retryable = reason in ("not_finite", "silent")

    def __str__(self) -> str:
        return str(self.args[1])


class CheckedTake(msgspec.Struct, frozen=True):
    """A take that was checked and rounded to 16 bits.

    Args:
        pcm: shape (n,).
        wide: the same whole numbers as float32, for the next computations.
        gain_db: gain that lowered a peak above full scale to full scale, else 0.0.
    """

    pcm: Pcm16
    wide: npt.NDArray[np.float32]
    gain_db: float


def check_take(pcm: npt.NDArray[Any], has_letters: bool = True) -> CheckedTake:
    """Check the samples of an engine and round them to 16 bits.

    Args:
        pcm: floats nominally in [-1, 1], or int16; shape (n,), or (1, n) or (n, 1) as tensors often are.
        has_letters: the text has letters or digits, so silence is an error.

    Raises:
        TakeRejected: not mono samples, no samples, NaN or infinite samples, or silence for a text with letters.
    """
    if pcm.ndim != 1:
        if pcm.ndim == 2 and 1 in pcm.shape:
            pcm = pcm.reshape(-1)
        else:
            raise TakeRejected("malformed", f"the backend gave an array of shape {pcm.shape}, not mono samples")
    if pcm.size == 0:
        raise TakeRejected("empty", "the backend gave no sound for this text; it cannot speak this script")
    if pcm.dtype == np.int16:
        wide, full_scale = pcm.astype(np.float32), 32767.0
    elif pcm.dtype.kind == "f":
        wide, full_scale = pcm.astype(np.float32, copy=False), 1.0
    else:
        raise TakeRejected("malformed", f"the backend gave samples of type {pcm.dtype}, not float32")
    peak = max(float(wide.max()), -float(wide.min())) / full_scale
    with np.errstate(over="ignore", invalid="ignore"):
        energy = float(np.dot(wide, wide))
    if not math.isfinite(peak) or not math.isfinite(energy):
        raise TakeRejected("not_finite", "the backend gave samples that are not numbers (NaN or infinite)")
    if has_letters and peak < _SILENT_PEAK:
        raise TakeRejected("silent", "the backend gave silence for this text")
    if pcm.dtype == np.int16:
        return CheckedTake(pcm.astype(np.int16, copy=False), wide, 0.0)
    wide = wide * np.float32(32767.0 / max(peak, 1.0))
    np.rint(wide, out=wide)
    gain_db = -20.0 * math.log10(peak) if peak > 1.0 else 0.0
    return CheckedTake(wide.astype(np.int16), wide, gain_db)


def to_flac(pcm: Pcm16, rate: int) -> bytes:
    """Return the take as a 16-bit FLAC file; `rate` in Hz."""
    file = io.BytesIO()
    sf.write(file, pcm, rate, format="FLAC", subtype="PCM_16", compression_level=_FLAC_LEVEL)
    return file.getvalue()


def to_wav(pcm: Pcm16, rate: int) -> bytes:
    """Return the take as a WAV file: a tenth of the time of `to_flac` and twice the bytes."""
    size = 2 * pcm.size
    return _WAV.pack(b"RIFF", 36 + size, b"WAVEfmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size) + (
        pcm.astype("<i2", copy=False).tobytes()
    )


def packed(file: bytes) -> bytes:
    """Return a take's file as FLAC, the format of stored takes."""
    return file if is_packed(file) else to_flac(*read_take(file))


def is_packed(file: bytes) -> bool:
    """Return whether a take's file is FLAC already."""
    return file.startswith(b"fLaC")


def read_take(file: bytes | Path) -> tuple[Pcm16, int]:
    """Return the samples that were given to `to_flac` or `to_wav`, and their rate in Hz.

    Raises:
        soundfile.LibsndfileError: the file is neither FLAC nor WAV.
    """
    pcm, rate = sf.read(io.BytesIO(file) if isinstance(file, bytes) else str(file), dtype="int16")
    return pcm, int(rate)

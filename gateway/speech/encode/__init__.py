"""Encodes finished samples to a file: one encoder per format, all with the same methods."""

from __future__ import annotations

from pathlib import Path

from gateway.errors import InvalidInput
from gateway.speech.encode.aac import AAC_BITRATES, AacEncoder, aac_missing
from gateway.speech.encode.encoder import Encoded, Encoder
from gateway.speech.encode.mp3 import MP3_BITRATES, Mp3Encoder
from gateway.speech.encode.pcm import PcmEncoder
from gateway.speech.encode.sndfile import OPUS_BITRATES, FlacEncoder, OpusEncoder
from gateway.speech.encode.wav import WavEncoder
from gateway.speech.request import AudioFormat

__all__ = [
    "BITRATES",
    "ENCODERS",
    "Encoded",
    "Encoder",
    "check_size",
    "default_bitrate",
    "encoder_identity",
    "missing",
    "open_encoder",
]

ENCODERS: dict[AudioFormat, type[Encoder]] = {
    "mp3": Mp3Encoder,
    "wav": WavEncoder,
    "pcm": PcmEncoder,
    "flac": FlacEncoder,
    "opus": OpusEncoder,
    "aac": AacEncoder,
}

BITRATES: dict[AudioFormat, tuple[int, ...]] = {"mp3": MP3_BITRATES, "opus": OPUS_BITRATES, "aac": AAC_BITRATES}
"""Allowed bitrates in kbit/s of the formats that have one."""


def missing(format: AudioFormat) -> str | None:  # noqa: A002
    """Return what must be installed before this server can write the format, with the command; None if nothing."""
    return aac_missing() if format == "aac" else None


def open_encoder(format: AudioFormat, path: Path, rate: int, bitrate: int | None = None) -> Encoder:  # noqa: A002
    """Open an encoder that writes a file.

    Args:
        path: is created or overwritten.
        rate: in Hz, mono.
        bitrate: in kbit/s; None means the format's default.

    Raises:
        InvalidInput: the format cannot have this rate or bitrate.
    """
    return ENCODERS[format](path, rate, bitrate)


def check_size(format: AudioFormat, samples: int) -> None:  # noqa: A002
    """Refuse a file that is too long for its format, before anything is spoken.

    Args:
        samples: expected, mono.

    Raises:
        InvalidInput: names the formats that can hold it.
    """
    limit = ENCODERS[format].max_samples
    if limit is not None and samples > limit:
        raise InvalidInput(
            f"this text is too long for {format}, which ends at 4 GiB ({limit} samples; it may need {samples}); "
            "use mp3, opus or flac"
        )


def default_bitrate(format: AudioFormat) -> int | None:  # noqa: A002
    """Return the default bitrate in kbit/s; None for formats without one."""
    return ENCODERS[format].default_bitrate


def encoder_identity(format: AudioFormat) -> str:  # noqa: A002
    """Return the name of codec, version and settings, on which the bytes of a file depend; part of the cache key."""
    return ENCODERS[format].identity

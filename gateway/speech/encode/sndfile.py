"""Encodes FLAC and Ogg Opus with libsndfile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import soundfile as sf  # type: ignore[import-untyped]

from gateway.errors import InvalidInput
from gateway.speech.encode.encoder import Encoder
from gateway.speech.sound.take import Pcm16

OPUS_BITRATES = (16, 24, 32, 48, 64, 96, 128)
"""In kbit/s."""

_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_DEFAULT_OPUS_BITRATE = 32


class _Target:
    """A file object that libsndfile writes to; keeps the OSError of the disk, which libsndfile does not report."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.seek, self.tell, self.close = self._file.seek, self._file.tell, self._file.close
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write all of `data`; after an error, keep the error and write nothing more."""
        left = memoryview(data)
        try:
            while left and self.error is None:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.error = error
        return len(data) - len(left)


class _SndfileEncoder(Encoder):
    _options: ClassVar[dict[str, Any]]

    def __init__(self, path: Path, rate: int, bitrate: int | None = None) -> None:
        super().__init__(path, rate, bitrate)
        options = self.options_for(rate, bitrate)
        self._target = _Target(path)
        with self._system_errors():
            self._file = sf.SoundFile(self._target, "w", rate, 1, **options)

    @classmethod
    def options_for(cls, rate: int, bitrate: int | None) -> dict[str, Any]:
        """Return the options for libsndfile.

        Raises:
            InvalidInput: the format cannot have this rate or bitrate.
        """
        return cls._options

    def _write(self, pcm: Pcm16) -> None:
        with self._system_errors():
            self._file.write(pcm)

    def _close(self) -> None:
        try:
            with self._system_errors():
                self._file.close()
        finally:
            self._target.close()

    @contextmanager
    def _system_errors(self) -> Iterator[None]:
        """Raise the OSError of the disk, which libsndfile reports without its cause or not at all."""
        try:
            yield
        except (sf.LibsndfileError, AssertionError) as error:  # soundfile asserts that all was written
            if self._target.error is None:
                raise
            raise self._target.error from error
        if self._target.error is not None:
            raise self._target.error


class FlacEncoder(_SndfileEncoder):
    """16-bit FLAC."""

    mimetype = "audio/flac"
    identity = f"flac-pcm16-{sf.__libsndfile_version__}"
    _options: ClassVar[dict[str, Any]] = {"format": "FLAC", "subtype": "PCM_16"}


class OpusEncoder(_SndfileEncoder):
    """Opus in Ogg, average bitrate."""

    mimetype = "audio/ogg"
    identity = f"opus-ogg-{sf.__libsndfile_version__}"
    default_bitrate = _DEFAULT_OPUS_BITRATE
    _options: ClassVar[dict[str, Any]] = {"format": "OGG", "subtype": "OPUS"}

    @classmethod
    def options_for(cls, rate: int, bitrate: int | None) -> dict[str, Any]:
        """Return the options of Ogg Opus at this bitrate in kbit/s; None means the default."""
        bitrate = bitrate or _DEFAULT_OPUS_BITRATE
        if rate not in _OPUS_RATES:
            rates = ", ".join(map(str, _OPUS_RATES))
            raise InvalidInput(f"opus needs a sample rate of {rates} Hz, not {rate}; use mp3, wav or flac")
        if bitrate not in OPUS_BITRATES:
            known = ", ".join(map(str, OPUS_BITRATES))
            raise InvalidInput(f"bitrate of opus must be one of {known} kbit/s, got {bitrate}")
        # libsndfile maps the level linearly to 256 (0.0) ... 6 (1.0) kbit/s per channel.
        return {**cls._options, "compression_level": (256 - bitrate) / 250}

"""The base class of the encoders, and their result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import msgspec

from gateway.errors import SynthesisFailed
from gateway.speech.sound.take import Pcm16


class Encoded(msgspec.Struct, frozen=True):
    """A finished file.

    Args:
        samples: the file decodes to exactly this many, with no lag.
        rate: in Hz.
    """

    path: Path
    samples: int
    rate: int
    mimetype: str
    size_bytes: int


class Encoder(ABC):
    """Writes one mono file; used by one thread at a time.

    Args:
        path: is created or overwritten.
        rate: in Hz.
        bitrate: in kbit/s; None means the format's default, and formats without one ignore it.
    """

    mimetype: ClassVar[str]
    identity: ClassVar[str]
    """Name of codec, version and settings."""
    default_bitrate: ClassVar[int | None] = None
    """In kbit/s; None for formats without one."""
    max_samples: ClassVar[int | None] = None
    """The most samples a file of this format can hold."""

    def __init__(self, path: Path, rate: int, bitrate: int | None = None) -> None:
        self.path = path
        self.rate = rate
        self.bitrate = bitrate
        self.samples = 0

    def write(self, pcm: Pcm16) -> None:
        """Append samples, shape (n,).

        Raises:
            OSError: the disk is full.
        """
        if pcm.size:
            self.samples += pcm.size
            self._write(pcm)

    def finish(self) -> Encoded:
        """Complete the file.

        Raises:
            OSError: the disk is full.
            SynthesisFailed: no samples were written; an empty file is never returned.
        """
        if self.samples == 0:
            self.abandon()
            raise SynthesisFailed("nothing was spoken")
        self._finish()
        return Encoded(self.path, self.samples, self.rate, self.mimetype, self.path.stat().st_size)

    def abandon(self) -> None:
        """Close the file as it is; harmless after `finish`. The caller removes the file."""
        with suppress(OSError):  # the file is not needed, and the disk may be full
            self._close()

    @abstractmethod
    def _write(self, pcm: Pcm16) -> None: ...

    def _finish(self) -> None:
        self._close()

    @abstractmethod
    def _close(self) -> None: ...

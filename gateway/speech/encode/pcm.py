"""Writes raw samples, 16 bit little-endian, like OpenAI's `pcm`."""

from __future__ import annotations

from pathlib import Path

from gateway.speech.encode.encoder import Encoder
from gateway.speech.sound.take import Pcm16


class PcmEncoder(Encoder):
    """Writes samples without a header; the rate is reported beside the file."""

    mimetype = "audio/pcm"
    identity = "pcm-s16le"

    def __init__(self, path: Path, rate: int, bitrate: int | None = None) -> None:
        super().__init__(path, rate, bitrate)
        self._file = path.open("wb")

    def _write(self, pcm: Pcm16) -> None:
        self._file.write(pcm.astype("<i2", copy=False).tobytes())

    def _close(self) -> None:
        self._file.close()

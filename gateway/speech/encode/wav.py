"""Writes WAV, 16 bit."""

from __future__ import annotations

import wave
from pathlib import Path

from gateway.errors import InvalidInput
from gateway.speech.encode.encoder import Encoder
from gateway.speech.sound.take import Pcm16

_HEADER_BYTES = 44


class WavEncoder(Encoder):
    """Writes RIFF with sizes of 32 bits; RF64 allows more, but too few players read it."""

    mimetype = "audio/wav"
    identity = "wav-pcm16"
    max_samples = (2**32 - 1 - _HEADER_BYTES) // 2

    def __init__(self, path: Path, rate: int, bitrate: int | None = None) -> None:
        super().__init__(path, rate, bitrate)
        self._file = wave.open(str(path), "wb")  # noqa: SIM115 - it stays open between writes
        self._file.setparams((1, 2, rate, 0, "NONE", "not compressed"))

    def _write(self, pcm: Pcm16) -> None:
        if self.samples > self.max_samples:
            raise InvalidInput("the audio is too long for wav, which ends at 4 GiB; use mp3, opus or flac")
        self._file.writeframesraw(pcm.astype("<i2", copy=False).tobytes())

    def _close(self) -> None:
        self._file.close()

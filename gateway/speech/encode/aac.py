"""Encodes AAC in ADTS with PyAV, which is in the extra `codecs`, since FFmpeg's libraries have a hundred megabytes."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gateway.errors import InvalidInput
from gateway.speech.encode.encoder import Encoder
from gateway.speech.sound.take import Pcm16

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

AAC_BITRATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160)
"""In kbit/s."""

INSTALL = "pip install 'voxgate[codecs]', then restart"

_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_DEFAULT_BITRATE = 64
_PRIMING = 1024  # samples that FFmpeg's encoder puts in front; ADTS has no field for them


def _version() -> str | None:
    try:
        return version("av")
    except PackageNotFoundError:
        return None


_AV = _version()


def aac_missing() -> str | None:
    """Return what to do before this server can encode AAC; None if it can."""
    return None if _AV is not None else f"aac needs PyAV, which is not installed: {INSTALL}; or use mp3 or opus"


class AacFrames:
    """Encodes samples to ADTS frames; decoded, they are longer than the input.

    Raises:
        InvalidInput: PyAV is not installed, or AAC cannot have this rate or bitrate.
    """

    def __init__(self, rate: int, bitrate: int | None) -> None:
        bitrate = bitrate or _DEFAULT_BITRATE
        missing = aac_missing()
        if missing is not None:
            raise InvalidInput(missing)
        if rate not in _RATES:
            raise InvalidInput(f"aac needs a sample rate of {', '.join(map(str, _RATES))} Hz, not {rate}; use wav")
        if bitrate not in AAC_BITRATES:
            known = ", ".join(map(str, AAC_BITRATES))
            raise InvalidInput(f"bitrate of aac must be one of {known} kbit/s, got {bitrate}")
        import av  # not at the top: the import takes a quarter of a second, and most servers never need it

        self._frame = av.AudioFrame
        self._rate = rate
        self._samples = 0
        self._out = _Collector()
        self._container = av.open(self._out, "w", format="adts")
        self._stream: AudioStream = self._container.add_stream("aac", rate=rate)
        self._stream.layout = "mono"
        self._stream.bit_rate = bitrate * 1000

    def encode(self, pcm: Pcm16) -> bytes:
        """Encode samples, shape (n,), n > 0; return the bytes that are ready."""
        frame = self._frame.from_ndarray(np.ascontiguousarray(pcm).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self._rate
        frame.pts = self._samples
        self._samples += pcm.size
        self._container.mux(self._stream.encode(frame))
        return self._out.take()

    def flush(self) -> bytes:
        """Return the last bytes; nothing can be encoded afterwards."""
        if self._samples:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._out.take()


class AacEncoder(Encoder):
    """AAC-LC in ADTS, constant bitrate."""

    mimetype = "audio/aac"
    identity = f"aac-adts-av-{_AV}"
    default_bitrate = _DEFAULT_BITRATE

    def __init__(self, path: Path, rate: int, bitrate: int | None = None) -> None:
        super().__init__(path, rate, bitrate)
        self._frames = AacFrames(rate, bitrate)
        self._file = path.open("wb")

    def _write(self, pcm: Pcm16) -> None:
        self._file.write(self._frames.encode(pcm))

    def _finish(self) -> None:
        self._file.write(self._frames.flush())
        self._close()

    def _close(self) -> None:
        self._file.close()


def read_aac(path: Path, begin: int, end: int | None) -> Pcm16:
    """Read samples `begin` to `end` (None: the last) of a finished file, counted without the encoder's priming.

    Raises:
        InvalidInput: PyAV is not installed.
    """
    missing = aac_missing()
    if missing is not None:
        raise InvalidInput(missing)
    import av

    wanted: list[Any] = []
    at = -_PRIMING
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray().reshape(-1)
            first, last = max(0, begin - at), samples.size if end is None else min(samples.size, end - at)
            at += samples.size
            if first < last:
                wanted.append(samples[first:last])
            if end is not None and at >= end:
                break
    joined: npt.NDArray[np.float32] = np.concatenate(wanted) if wanted else np.zeros(0, np.float32)
    pcm: Pcm16 = np.clip(np.rint(joined * 32768), -32768, 32767).astype(np.int16)
    return pcm


class _Collector:
    """A file object that collects what FFmpeg writes; FFmpeg never seeks in ADTS."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Append `data`."""
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """Return the bytes written since the last call."""
        taken, self._parts = b"".join(self._parts), []
        return taken

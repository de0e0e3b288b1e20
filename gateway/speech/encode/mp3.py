"""Encodes MP3 with LAME, constant bitrate, with an Info frame in front, so that decoders return exactly the input."""

from __future__ import annotations

import struct
from importlib.metadata import version
from pathlib import Path

import lameenc  # type: ignore[import-not-found]

from gateway.errors import InvalidInput
from gateway.speech.encode.encoder import Encoder
from gateway.speech.sound.take import Pcm16

MP3_BITRATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160)
"""In kbit/s; those that exist for every sample rate from 16 kHz."""

_DEFAULT_BITRATE = 64
_QUALITY = 5  # 2 costs the embedded engine 54 % more CPU, 5 only 25 %, and speech at 64 kbit/s hardly differs
_ENCODER_DELAY = 576  # samples; decoders add 529 to the number in the Info frame
_RATES = {  # version bits, sample rate bits
    44100: (3, 0), 48000: (3, 1), 32000: (3, 2),
    22050: (2, 0), 24000: (2, 1), 16000: (2, 2),
}  # fmt: skip
_BITRATES_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BITRATES_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_TAG_BYTES = 156  # "Info" to the end of the LAME extension


class Mp3Encoder(Encoder):
    """Writes MP3 with a LAME encoder per file. Two threads must never use one encoder at a time: LAME would crash."""

    mimetype = "audio/mpeg"
    identity = f"lameenc-{version('lameenc')}-q{_QUALITY}-cbr-info"
    default_bitrate = _DEFAULT_BITRATE

    def __init__(self, path: Path, rate: int, bitrate: int | None = None) -> None:
        bitrate = bitrate or _DEFAULT_BITRATE
        self._lame = lame_encoder(rate, bitrate)
        self._lame.encode(b"")  # LAME initialises now and not at its first samples, when the caller waits
        super().__init__(path, rate, bitrate)
        self._kbps = bitrate
        self._info_bytes = len(_info_frame(rate, bitrate, 0, 0, 0))
        self._file = path.open("wb")
        self._file.write(bytes(self._info_bytes))  # overwritten at the end, when the numbers are known
        self._audio_bytes = 0

    def _write(self, pcm: Pcm16) -> None:
        self._append(self._lame.encode(pcm.astype("<i2", copy=False).tobytes()))

    def _finish(self) -> None:
        self._append(self._lame.flush())
        self._file.seek(0)
        self._file.write(_info_frame(self.rate, self._kbps, self._frames(), self._audio_bytes, self.samples))
        self._close()

    def _close(self) -> None:
        self._file.close()

    def _append(self, data: bytes | bytearray) -> None:
        self._audio_bytes += len(data)
        self._file.write(data)

    def _frames(self) -> int:
        """Return the number of frames: at a constant bitrate, padding keeps each within a byte of its exact size."""
        return round(self._audio_bytes * self.rate / (_samples_per_frame(self.rate) * self._kbps * 125))


def lame_encoder(rate: int, bitrate: int | None) -> lameenc.Encoder:
    """Make a LAME encoder: mono, constant bitrate in kbit/s (None: the default), at the rate of its input in Hz.

    Raises:
        InvalidInput: MP3 cannot have this rate or bitrate.
    """
    bitrate = bitrate or _DEFAULT_BITRATE
    if rate not in _RATES:
        raise InvalidInput(f"mp3 needs a sample rate of {_listed(sorted(_RATES))} Hz, not {rate}; use wav or flac")
    if bitrate not in MP3_BITRATES:
        raise InvalidInput(f"bitrate of mp3 must be one of {_listed(MP3_BITRATES)} kbit/s, got {bitrate}")
    lame = lameenc.Encoder()
    lame.silence()
    lame.set_channels(1)
    lame.set_in_sample_rate(rate)
    lame.set_out_sample_rate(rate)  # else LAME resamples 24 kHz to 22.05 kHz at 32 kbit/s
    lame.set_bit_rate(bitrate)
    lame.set_quality(_QUALITY)
    return lame


def _samples_per_frame(rate: int) -> int:
    return 1152 if rate >= 32000 else 576


def _info_frame(rate: int, kbps: int, frames: int, audio_bytes: int, samples: int) -> bytes:
    """Make a silent frame with the Info tag and LAME's extension.

    Source: "Mp3 Info Tag rev 1", gabriel.mp3-tech.org; fields 15 = frames, bytes, table of contents, quality.
    """
    version_bits, rate_bits = _RATES[rate]
    table = _BITRATES_V1 if version_bits == 3 else _BITRATES_V2
    per_frame = _samples_per_frame(rate)
    side_info = 17 if version_bits == 3 else 9
    # The tag must fit into its frame, so this frame has a higher bitrate if needed.
    carrier = next(k for k in table if k >= kbps and per_frame * k * 125 // rate >= 4 + side_info + _TAG_BYTES)
    size = per_frame * carrier * 125 // rate
    header = struct.pack(
        ">BBBB",
        0xFF,
        0xE0 | version_bits << 3 | 1 << 1 | 1,  # layer III, no CRC
        table.index(carrier) << 4 | rate_bits << 2,
        3 << 6,  # mono
    )
    toc = bytes(percent * 256 // 100 for percent in range(100))
    padding = max(0, frames * per_frame - _ENCODER_DELAY - samples)
    tag = (
        b"Info"
        + struct.pack(">III", 15, frames, audio_bytes + size)
        + toc
        + struct.pack(">I", 99)
        + b"LAME3.100"
        + bytes([1, 0])  # CBR, no low-pass stated
        + bytes(8)  # no replay gain
        + bytes([0, min(kbps, 255)])
        + struct.pack(">I", _ENCODER_DELAY << 12 | min(padding, 4095))[1:]
        + bytes(4)
        + struct.pack(">I", audio_bytes + size)
        + bytes(4)
    )
    return (header + bytes(side_info) + tag).ljust(size, b"\x00")


def _listed(numbers: tuple[int, ...] | list[int]) -> str:
    return ", ".join(str(number) for number in numbers)

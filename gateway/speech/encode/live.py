"""Encodes audio that is sent while it is being spoken; bytes that were returned are never changed.

The streams are equal to the files of the file encoders, except for what is known only at the end: WAV and FLAC have no
length, and MP3 has no Info frame, so decoders add some milliseconds to MP3, as they do to AAC.
"""

from __future__ import annotations

import contextlib
import io
import struct
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import soundfile as sf  # type: ignore[import-untyped]

from gateway.speech.encode.aac import AacEncoder, AacFrames
from gateway.speech.encode.mp3 import Mp3Encoder, lame_encoder
from gateway.speech.encode.pcm import PcmEncoder
from gateway.speech.encode.sndfile import FlacEncoder, OpusEncoder
from gateway.speech.encode.wav import WavEncoder
from gateway.speech.request import AudioFormat
from gateway.speech.sound.take import Pcm16

_UNKNOWN_SIZE = 0xFFFFFFFF
"""The size field for an unknown size, as FFmpeg writes it into WAV for a pipe."""

MAY_ADD_MS = 60
"""The most milliseconds that decoders may add to an MP3 or AAC stream at 24 kHz that ends in silence."""

_SFC_SET_OGG_PAGE_LATENCY_MS = 0x1302
_OGG_PAGE_MS = 100.0
"""Length of an Ogg page. A page header has at least 27 bytes; pages of this length make a stream 5 % larger."""

_QUIET = 328
"""Level below which samples count as silent: one hundredth of full scale."""


class LiveEncoder(ABC):
    """Encodes one mono stream; used by one thread at a time.

    Args:
        rate: in Hz.
        bitrate: in kbit/s; None means the format's default, and formats without one ignore it.

    Raises:
        InvalidInput: the format cannot have this rate or bitrate.
    """

    mimetype: ClassVar[str]
    in_thread: ClassVar[bool] = False
    """True if encoding a second of speech takes too long for the event loop."""

    @abstractmethod
    def __init__(self, rate: int, bitrate: int | None = None) -> None: ...

    @abstractmethod
    def encode(self, pcm: Pcm16) -> bytes:
        """Encode samples, shape (n,); return the bytes that are ready, which may be none."""

    @abstractmethod
    def finish(self) -> bytes:
        """Return the last bytes. Nothing can be encoded afterwards."""


class PcmLive(LiveEncoder):
    """Bare samples, 16 bit little-endian."""

    mimetype = PcmEncoder.mimetype

    def __init__(self, rate: int, bitrate: int | None = None) -> None:
        self._head = b""

    def encode(self, pcm: Pcm16) -> bytes:
        """See LiveEncoder."""
        head, self._head = self._head, b""
        return head + pcm.astype("<i2", copy=False).tobytes()

    def finish(self) -> bytes:
        """See LiveEncoder."""
        return b""


class WavLive(PcmLive):
    """RIFF with unknown sizes."""

    mimetype = WavEncoder.mimetype

    def __init__(self, rate: int, bitrate: int | None = None) -> None:
        super().__init__(rate, bitrate)
        form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
        self._head = (
            struct.pack("<4sI4s4sI", b"RIFF", _UNKNOWN_SIZE, b"WAVE", b"fmt ", len(form))
            + form
            + struct.pack("<4sI", b"data", _UNKNOWN_SIZE)
        )


class _Framed(LiveEncoder):
    """A codec with frames of fixed length, which decodes to more samples than the input: a lead, and the padding of the
    last frame.

    If that is more than MAY_ADD_MS and the samples in the last, incomplete frame are nearly silent, they are left out,
    and the frame with them.
    """

    frame: int
    """Samples of a frame."""
    lead: int
    """Samples that the codec adds beside the padding of the last frame."""

    def __init__(self, rate: int, bitrate: int | None = None) -> None:
        self._may_add = MAY_ADD_MS * rate // 1000
        self._samples = 0
        self._held = np.zeros(0, np.int16)

    def encode(self, pcm: Pcm16) -> bytes:
        """See LiveEncoder."""
        self._samples += pcm.size
        held = np.concatenate((self._held, pcm))
        ready = max(0, held.size - self.frame)
        self._held = held[ready:]
        return self._encode(held[:ready]) if ready else b""

    def finish(self) -> bytes:
        """See LiveEncoder."""
        begun = self._samples % self.frame
        adds = self.lead + (self.frame - begun if begun else 0)
        held = self._held
        if adds > self._may_add and begun < held.size and np.abs(held[-begun:].astype(np.int32)).max() <= _QUIET:
            held = held[:-begun]
        return (self._encode(held) if held.size else b"") + (self._flush() if self._samples else b"")

    @abstractmethod
    def _encode(self, pcm: Pcm16) -> bytes: ...

    @abstractmethod
    def _flush(self) -> bytes: ...


class Mp3Live(_Framed):
    """MP3 by LAME, constant bitrate, without an Info frame."""

    mimetype = Mp3Encoder.mimetype

    def __init__(self, rate: int, bitrate: int | None = None) -> None:
        super().__init__(rate, bitrate)
        self._lame = lame_encoder(rate, bitrate)
        self.frame = 1152 if rate >= 32_000 else 576
        self.lead = 1152

    def _encode(self, pcm: Pcm16) -> bytes:
        return bytes(self._lame.encode(pcm.astype("<i2", copy=False).tobytes()))

    def _flush(self) -> bytes:
        return bytes(self._lame.flush())


class AacLive(_Framed):
    """AAC in ADTS."""

    mimetype = AacEncoder.mimetype
    in_thread = True
    frame = 1024
    lead = 1024

    def __init__(self, rate: int, bitrate: int | None = None) -> None:
        super().__init__(rate, bitrate)
        self._frames = AacFrames(rate, bitrate)

    def _encode(self, pcm: Pcm16) -> bytes:
        return self._frames.encode(pcm)

    def _flush(self) -> bytes:
        return self._frames.flush()


class FlacLive(LiveEncoder):
    """FLAC without a length in its header, which the format allows."""

    mimetype = FlacEncoder.mimetype

    def __init__(self, rate: int, bitrate: int | None = None) -> None:
        self._out = _AppendOnlyFile()
        self._file = self._open(rate, bitrate)

    def _open(self, rate: int, bitrate: int | None) -> sf.SoundFile:
        return sf.SoundFile(self._out, "w", rate, 1, **FlacEncoder.options_for(rate, bitrate))

    def encode(self, pcm: Pcm16) -> bytes:
        """See LiveEncoder."""
        self._file.write(pcm)
        return self._out.take()

    def finish(self) -> bytes:
        """See LiveEncoder."""
        self._file.close()
        return self._out.take()


class OpusLive(FlacLive):
    """Opus in Ogg with a page for each tenth of a second; samples of an incomplete page wait for the next chunk."""

    mimetype = OpusEncoder.mimetype
    in_thread = True

    def _open(self, rate: int, bitrate: int | None) -> sf.SoundFile:
        file = sf.SoundFile(self._out, "w", rate, 1, **OpusEncoder.options_for(rate, bitrate))
        _shorten_pages(file)
        return file


def _shorten_pages(file: sf.SoundFile) -> None:
    """Have libsndfile (1.1 and later) end Ogg pages after _OGG_PAGE_MS instead of after a second.

    soundfile has no public function for this. If its private names differ, pages stay a second long.
    """
    with contextlib.suppress(AttributeError, TypeError):
        latency = sf._ffi.new("double *", _OGG_PAGE_MS)
        sf._snd.sf_command(file._file, _SFC_SET_OGG_PAGE_LATENCY_MS, latency, sf._ffi.sizeof("double"))


LIVE: dict[AudioFormat, type[LiveEncoder]] = {
    "mp3": Mp3Live,
    "wav": WavLive,
    "pcm": PcmLive,
    "flac": FlacLive,
    "opus": OpusLive,
    "aac": AacLive,
}


def open_live(format: AudioFormat, rate: int, bitrate: int | None = None) -> LiveEncoder:  # noqa: A002
    """Open an encoder for a stream.

    Raises:
        InvalidInput: the format cannot have this rate or bitrate.
    """
    return LIVE[format](rate, bitrate)


class _AppendOnlyFile:
    """A file object for libsndfile that drops corrections of bytes that were sent already."""

    def __init__(self) -> None:
        self._at = 0
        self._size = 0
        self._sent = 0
        self._pending = bytearray()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position; bytes written before the end of the sent part are dropped."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def write(self, data: bytes) -> int:
        """Write `data`, except the part before the end of the sent bytes."""
        fresh = bytes(data)[max(0, self._sent - self._at) :]
        begin = max(self._at - self._sent, 0)
        self._pending[begin : begin + len(fresh)] = fresh
        self._at += len(data)
        self._size = max(self._size, self._at)
        return len(data)

    def flush(self) -> None:
        """Do nothing; libsndfile expects this method."""

    def take(self) -> bytes:
        """Return the bytes that were appended since the last call."""
        taken = bytes(self._pending)
        self._sent += len(taken)
        self._pending.clear()
        return taken

"""From a take to its finished form: edges trimmed, tempo changed. Runs in the worker that made the take."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.speech.stretch import stretch
from gateway.speech.take import Pcm16, from_flac, settle, to_flac
from gateway.speech.trim import fade, speech_span


class Finish(msgspec.Struct, frozen=True):
    """What is done to every take before it is joined.

    Args:
        speed: 0.5 to 2.0; 2.0 halves the duration.
        trim: cut the silence around the speech, so that pauses are the plan's.
    """

    speed: float = 1.0
    trim: bool = True


class PostResult(msgspec.Struct, frozen=True):
    """A take and its finished form.

    Args:
        flac: the take as spoken, 16-bit FLAC.
        samples: of that take.
        pcm: the finished samples, int16 little-endian.
        gain_db: see `Settled`.
    """

    flac: bytes
    samples: int
    pcm: bytes
    gain_db: float


_decode_finish = msgspec.json.Decoder(Finish).decode


def finish_take(pcm: Pcm16, rate: int, finish: Finish) -> Pcm16:
    """Trim and stretch a take; the same samples give the same result wherever this runs.

    Args:
        pcm: shape (n,) at `rate` Hz.
    """
    begin, end = 0, pcm.size
    if finish.trim:
        begin, end = speech_span(pcm.astype(np.float32), rate)
    cut_begin, cut_end = begin > 0, end < pcm.size
    if finish.speed == 1.0 and not cut_begin and not cut_end:
        return pcm
    sound: npt.NDArray[np.float32] = pcm[begin:end].astype(np.float32)
    sound = stretch(sound, rate, finish.speed)
    # The last stretched window may end up to 8 ms off, so its end is faded like a cut.
    fade(sound, rate, cut_begin, cut_end or finish.speed != 1.0)
    np.rint(sound, out=sound)
    np.clip(sound, -32768, 32767, out=sound)
    return sound.astype(np.int16)


def finish_flac(flac: bytes, finish: Finish) -> tuple[Pcm16, int]:
    """A stored take, finished, and its rate in Hz."""
    pcm, rate = from_flac(flac)
    return finish_take(pcm, rate, finish), rate


def post(pcm: npt.NDArray[Any], rate: int, finish_json: bytes, has_letters: bool) -> PostResult:
    """Settle, store and finish what an engine gave; the hook that hosts run in their workers.

    Args:
        pcm: as the engine gave it, at `rate` Hz.
        finish_json: a `Finish` as JSON; empty for the default.

    Raises:
        TakeRejected: it is no speech.
    """
    finish = _decode_finish(finish_json) if finish_json else Finish()
    settled = settle(pcm, has_letters)
    finished = finish_take(settled.pcm, rate, finish)
    return PostResult(
        flac=to_flac(settled.pcm, rate),
        samples=settled.pcm.size,
        pcm=finished.astype("<i2", copy=False).tobytes(),
        gain_db=settled.gain_db,
    )

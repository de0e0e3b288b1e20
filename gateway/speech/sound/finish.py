"""Finishes a take: trims its edges and changes its tempo. Runs in the worker that spoke the take."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from backends.interface import Take
from gateway.engines.order import FinishedTake
from gateway.speech.sound.checks import Check, find_flaws
from gateway.speech.sound.stretch import stretch
from gateway.speech.sound.take import Pcm16, check_take, read_take, to_flac, to_wav
from gateway.speech.sound.trim import fade, speech_span
from gateway.speech.sound.word_times import WordTimes, cut, in_order, mapped


class Finish(msgspec.Struct, frozen=True):
    """The settings with which every take of an utterance is finished before it is joined.

    Args:
        speed: 0.5 to 2.0; 2.0 halves the duration.
        trim: cut the silence around the speech, so that only the plan's pauses remain.
        check: the text a new take is checked against; None: no checks.
        pack: compress the take at once; else it is WAV, and `StoredTakes` compresses it.
    """

    speed: float = 1.0
    trim: bool = True
    check: Check | None = None
    pack: bool = True


_decode_finish = msgspec.json.Decoder(Finish).decode


class FinishedPcm(msgspec.Struct, frozen=True):
    """A finished take: its samples, their rate in Hz, and its word times in these samples."""

    pcm: Pcm16
    rate: int
    words: WordTimes = ()


def finish_take(pcm: Pcm16, rate: int, finish: Finish, words: WordTimes = ()) -> FinishedPcm:
    """Trim and stretch a take; the same samples give the same result on every machine.

    Args:
        pcm: shape (n,) at `rate` Hz.
        words: in samples of `pcm`.
    """
    return _finish(pcm, pcm.astype(np.float32), rate, finish, words)


def finish_file(file: bytes, finish: Finish, words: WordTimes = ()) -> FinishedPcm:
    """Decode and finish a stored take."""
    return finish_take(*read_take(file), finish, words)


def post(take: Take, finish_json: bytes, has_letters: bool) -> FinishedTake:
    """Check, round, pack and finish an engine's take; hosts run it in their workers.

    Args:
        finish_json: a `Finish` as JSON; empty for the default.

    Returns:
        `file` is FLAC, or WAV (see `Finish.pack`); `report` is a JSON list of `Flaw`s, empty if there are none.

    Raises:
        TakeRejected: the samples cannot be used.
    """
    finish = _decode_finish(finish_json) if finish_json else Finish()
    rate = take.rate
    checked = check_take(np.asarray(take.pcm), has_letters)
    words = in_order(take.words, checked.pcm.size)
    flaws = find_flaws(checked.wide, rate, finish.check) if finish.check is not None else ()
    finished = _finish(checked.pcm, checked.wide, rate, finish, words)
    return FinishedTake(
        file=to_flac(checked.pcm, rate) if finish.pack else to_wav(checked.pcm, rate),
        samples=checked.pcm.size,
        pcm=finished.pcm.astype("<i2", copy=False).tobytes(),
        gain_db=checked.gain_db,
        report=msgspec.json.encode(flaws) if flaws else b"",
        words=words,
        pcm_words=finished.words,
    )


def _finish(pcm: Pcm16, wide: npt.NDArray[np.float32], rate: int, finish: Finish, words: WordTimes) -> FinishedPcm:
    """Trim and stretch; `wide` has the same values as `pcm`, so stored and new takes are finished alike."""
    begin, end = speech_span(wide, rate) if finish.trim else (0, pcm.size)
    cut_begin, cut_end = begin > 0, end < pcm.size
    words = cut(words, begin, end)
    if finish.speed == 1.0:
        kept = pcm[begin:end]
        if cut_begin or cut_end:
            kept = kept.copy()
            fade(kept, rate, cut_begin, cut_end)
        return FinishedPcm(kept, rate, words)
    sound, times = stretch(wide[begin:end], rate, finish.speed)
    np.rint(sound, out=sound)
    np.clip(sound, -32768, 32767, out=sound)
    stretched = sound.astype(np.int16)
    # The last window may end up to 8 ms early or late, so its end is faded like a cut.
    fade(stretched, rate, cut_begin, True)
    return FinishedPcm(stretched, rate, mapped(words, times))

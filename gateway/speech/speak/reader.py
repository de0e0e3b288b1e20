"""Reads the stored takes of an utterance while it is being spoken, on any server.

It returns the finished chunks in order, each with the pause before it. Joined, they are the finished audio, sample by
sample.
"""

from __future__ import annotations

import msgspec
import numpy as np

from gateway.speech.encode.render import MarkTime, SpokenWord, spoken_words
from gateway.speech.sound.finish import Finish, FinishedPcm
from gateway.speech.sound.gain import amplified, factor
from gateway.speech.sound.take import Pcm16
from gateway.speech.sound.word_times import from_json
from gateway.speech.speak.takes import Takes
from gateway.speech.text.plan import Mark, Pause, Plan, Speak
from gateway.speech.text.script import PlannedChunk
from storage.records import TakeRecord

AHEAD = 32
"""Takes that are looked up in one query."""


class ChunkAudio(msgspec.Struct, frozen=True):
    """The audio of one chunk with the pause before it; the last chunk also has the silence after it.

    Args:
        start: position of its speech in the utterance, after the pause, in samples.
        end: position of its end, in samples.
        marks: those before its speech and, for the last chunk, those after it.
        words: with their times in the utterance.
    """

    index: int
    text: str
    pcm: Pcm16
    rate: int
    start: int
    end: int
    marks: tuple[MarkTime, ...] = ()
    words: tuple[SpokenWord, ...] = ()


class Reader:
    """Reads one utterance from its beginning.

    Args:
        spoken_by: only takes of this job are read (see `Utterance.own_takes`); None: of any job.
        fresh: takes that are not stored yet are read, too.
    """

    def __init__(
        self,
        plan: Plan,
        script: tuple[PlannedChunk, ...],
        speed: float,
        takes: Takes,
        *,
        spoken_by: str | None = None,
        fresh: bool = False,
    ) -> None:
        self._script = script
        self._between = _between(plan)
        self._speed = speed
        self._takes = takes
        self._spoken_by = spoken_by
        self._fresh = fresh and spoken_by is None
        self._next = 0
        self._samples = 0
        self._known: dict[str, TakeRecord] = {}

    @property
    def index(self) -> int:
        """Return the index of the next chunk."""
        return self._next

    @property
    def done(self) -> bool:
        """Return whether every chunk has been read."""
        return self._next >= len(self._script)

    @property
    def awaited(self) -> str | None:
        """Return the key of the next take; None after the last chunk."""
        return None if self.done else self._script[self._next].key

    def seek(self, index: int, samples: int) -> None:
        """Continue at chunk `index`; `samples` samples of the utterance come before it."""
        self._next, self._samples = index, samples
        self._known = {}

    async def next(self) -> ChunkAudio | None:
        """Return the next chunk; None if its take does not exist yet, or after the last chunk."""
        if self.done:
            return None
        chunk = self._script[self._next]
        fresh = self._takes.fresh.get(chunk.key) if self._fresh else None
        if fresh is not None:
            take, finish = fresh
            if finish.speed == chunk.speed and take.pcm:
                return self._part(chunk, FinishedPcm(np.frombuffer(take.pcm, "<i2"), take.rate, take.pcm_words))
            return self._part(chunk, await self._takes.finished(take.file, Finish(speed=chunk.speed), take.words))
        return await self._from_store(chunk)

    async def _from_store(self, chunk: PlannedChunk) -> ChunkAudio | None:
        take = self._known.pop(chunk.key, None) or await self._find(chunk)
        if take is None:
            return None
        flac = await self._takes.stored.read(take)
        if flac is None:
            return None
        finish = Finish(speed=chunk.speed)
        return self._part(chunk, await self._takes.finished(flac, finish, from_json(take.words)))

    def _part(self, chunk: PlannedChunk, finished: FinishedPcm) -> ChunkAudio:
        speech, rate = amplified(finished.pcm, factor(chunk.speak.gain)), finished.rate
        begin = self._samples
        start, marks = self._passed(self._between[self._next], begin, rate)
        self._next += 1
        end = start + speech.size
        self._samples, marks_after = self._passed(self._between[self._next], end, rate) if self.done else (end, ())
        silence, after = start - begin, self._samples - end
        pcm = speech
        if silence or after:
            pcm = np.concatenate((np.zeros(silence, np.int16), speech, np.zeros(after, np.int16)))
        words = spoken_words(finished.words, start, rate)
        return ChunkAudio(chunk.index, chunk.speak.shown, pcm, rate, start, self._samples, marks + marks_after, words)

    def _passed(self, segments: list[Pause | Mark], at: int, rate: int) -> tuple[int, tuple[MarkTime, ...]]:
        """Return the sample after these pauses, and the marks among them; `at` is the sample before."""
        marks: list[MarkTime] = []
        for segment in segments:
            if isinstance(segment, Mark):
                marks.append(MarkTime(segment.name, round(at * 1000 / rate), at))
            else:
                at += segment.samples(self._speed, rate)
        return at, tuple(marks)

    async def _find(self, chunk: PlannedChunk) -> TakeRecord | None:
        keys = [each.key for each in self._script[self._next : self._next + AHEAD]]
        found = await self._takes.stored.find(keys)
        self._known = {key: take for key, take in found.items() if self._spoken_by in (None, take.job_id)}
        return self._known.get(chunk.key)


def _between(plan: Plan) -> list[list[Pause | Mark]]:
    """Return the pauses and marks before each chunk, then those after the last."""
    before: list[list[Pause | Mark]] = [[]]
    for segment in plan.segments:
        if isinstance(segment, Speak):
            before.append([])
        else:
            before[-1].append(segment)
    return before

"""The work on one utterance: finds stored takes, has the others spoken, and joins them to the finished file.

At most `window` chunks of an utterance are between a backend and the file at any time, so a text of a megabyte needs
no more memory than a page. Takes are stored as they are spoken, in any order; the file is written in the order of the
text. A further attempt of a job finds the stored takes and speaks only the missing ones.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from gateway.errors import InvalidInput, SynthesisFailed
from gateway.speech.encode import open_encoder
from gateway.speech.encode.render import Rendered, Renderer
from gateway.speech.request import NO_WORD_TIMES
from gateway.speech.sound.finish import Finish, FinishedPcm
from gateway.speech.sound.gain import factor
from gateway.speech.sound.loudness import LevelMeter, gain_for
from gateway.speech.sound.word_times import from_json
from gateway.speech.speak.chunk_take import ChunkTake
from gateway.speech.speak.in_thread import to_its_end
from gateway.speech.speak.means import SpeakingMeans
from gateway.speech.speak.progress import ChunkProgress
from gateway.speech.speak.retakes import FLAW_WARNING
from gateway.speech.speak.take_maker import TakeMaker
from gateway.speech.speak.take_writer import TakeWriter
from gateway.speech.speak.timing import Timing
from gateway.speech.speak.utterance import SpeakingHost, SpokenUtterance, Utterance, UtteranceListener
from gateway.speech.text.script import PlannedChunk
from storage.records import TakeRecord

IN_THREAD_S = 0.5
"""Finished takes of at least this many seconds are encoded in a thread, so that the event loop is not blocked."""

_CODE = re.compile(r"[a-z][a-z0-9_]*")
"""Pattern of a warning's code; a backend's warning has one if it begins with it and `: `."""


class Synthesis:
    """Speaks one utterance with the means of the server."""

    def __init__(
        self,
        means: SpeakingMeans,
        utterance: Utterance,
        host: SpeakingHost,
        timing: Timing,
        listener: UtteranceListener,
    ) -> None:
        self._means = means
        self._takes = means.takes
        self._utterance = utterance
        self._timing = timing
        self._script = utterance.script
        at_once = len(self._script) > 1 or not utterance.waited_for
        self._progress = ChunkProgress((each.key for each in self._script), listener.counted)
        self._take_writer = TakeWriter(means.takes, utterance, self._progress, listener.kept, at_once)
        self._maker = TakeMaker(means, utterance, host, self._take_writer, timing, listener.took)
        self._stored: dict[str, TakeRecord] = {}
        self._tasks: dict[int, asyncio.Task[FinishedPcm]] = {}
        self._task_ended = asyncio.Event()
        self._begun: set[int] = set()
        self._spoken = 0
        self._warnings: dict[tuple[str, str], None] = {}

    async def run(self, spool: Path) -> SpokenUtterance:
        """Speak every chunk and write the file at `spool`; see `Speaker.speak`."""
        request = self._utterance.request
        left, without_words = len(self._script), 0
        if not left:
            raise InvalidInput("text has nothing to speak: it needs at least one letter or digit")
        self._stored = await self._maker.find_stored(self._script)
        gain = 1.0
        if request.loudness is not None:
            gain = await self._measure(request.loudness)
        rendered: Rendered | None = None
        opening = asyncio.create_task(self._open_renderer(spool, gain))
        try:
            async for part in self._in_order():
                renderer = await asyncio.shield(opening)
                if part.rate != self._utterance.rate:
                    raise SynthesisFailed(
                        f"the backend declared a sample rate of {self._utterance.rate} Hz and spoke at {part.rate} Hz"
                    )
                left -= 1
                without_words += not part.words
                rendered = await _rendered(renderer, part, last=not left)
        except BaseException:
            await asyncio.wait((opening,))
            if opening.exception() is None:
                opening.result().abandon()
            raise
        assert rendered is not None  # the last part completes it
        self._take_writer.check()
        if not self._utterance.waited_for:
            self._take_writer.flush()
        if self._utterance.words and without_words:
            told = f"the backend gave no word times for {without_words} of {len(self._script)} chunks"
            self._warnings[NO_WORD_TIMES, told] = None
        tally = self._maker.tally
        return SpokenUtterance(
            rendered=rendered,
            chunks=len(self._script),
            chunks_spoken=self._spoken,
            billed=tally.billed,
            engine_s=tally.engine_s,
            warnings=tuple(self._warnings),
            takes_retried=tally.retried,
            kept=self._take_writer.wait_stored,
        )

    async def _open_renderer(self, spool: Path, gain: float) -> Renderer:
        """Open the output file, while the engine speaks."""
        utterance, request = self._utterance, self._utterance.request
        encoder = await asyncio.to_thread(open_encoder, request.format, spool, utterance.rate, request.bitrate)
        return Renderer(utterance.plan, encoder, speed=request.speed, gain=gain)

    async def close(self) -> None:
        """Cancel the chunks that the host still has; takes that were spoken are stored."""
        self._take_writer.flush()  # first, since this may be cancelled while it waits below
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._take_writer.wait_ended()

    async def _measure(self, loudness: float) -> float:
        """Speak every chunk into the store and return the gain that brings their level to `loudness`."""
        meter: LevelMeter | None = None
        chunks = iter(self._script)
        async for part in self._in_order():
            if meter is None:
                meter = LevelMeter(part.rate)
            meter.add(part.pcm, factor(next(chunks).speak.gain))
        await self._take_writer.wait_stored()
        self._stored = await self._maker.find_stored(self._script)
        return 1.0 if meter is None else gain_for(meter.level(), loudness, meter.peak)

    async def _in_order(self) -> AsyncIterator[FinishedPcm]:
        """Yield the finished chunks in the order of the text; up to `window` of them are made at a time."""
        self._tasks.clear()
        ahead = 0
        for index in range(len(self._script)):
            while ahead < len(self._script) and ahead < index + self._means.window:
                task = self._tasks[ahead] = asyncio.create_task(self._chunk(ahead))
                task.add_done_callback(self._on_task_done)
                ahead += 1
            part = await self._next_chunk(index)
            del self._tasks[index]
            yield part

    def _on_task_done(self, _task: asyncio.Task[FinishedPcm]) -> None:
        self._task_ended.set()

    async def _next_chunk(self, index: int) -> FinishedPcm:
        """Wait for chunk `index`; raise at once if a later chunk fails."""
        due = self._tasks[index]
        while not due.done():
            self._task_ended.clear()
            await self._task_ended.wait()
            for task in self._tasks.values():
                if task.done():
                    task.result()
            self._take_writer.check()
        return due.result()

    async def _chunk(self, index: int) -> FinishedPcm:
        due = self._script[index]
        first = index not in self._begun  # there is a second pass after the level was measured
        self._begun.add(index)
        stored = self._stored.get(due.key)
        flac = None if stored is None else await self._takes.stored.read(stored)
        if stored is not None and flac is not None:
            self._timing.begin()
            if first:
                self._maker.count("stored")
                self._progress.add((due.key,))
            self._note(stored.warnings, index)
            return await self._takes.finished(flac, Finish(speed=due.speed), from_json(stored.words))
        return await self._finished_chunk(due, await self._maker.make(due))

    async def _finished_chunk(self, chunk: PlannedChunk, made: ChunkTake) -> FinishedPcm:
        """Finish a take as this utterance needs it, and count it."""
        take = made.take
        self._note(take.warnings, chunk.index)
        if take.gain_db and made.origin != "stored":
            gain = f"take_gain: a take peaked above full scale and was lowered by {-take.gain_db:.1f} dB"
            self._note((gain,), chunk.index)
        if made.origin in ("spoken", "pieces"):
            self._spoken += 1  # counted as done when its take is stored
        else:
            self._progress.add((chunk.key,))
        finish = Finish(speed=chunk.speed)
        if made.finish == finish:
            return FinishedPcm(np.frombuffer(take.pcm, dtype="<i2"), take.rate, take.pcm_words)
        # The take was finished for another speed.
        return await self._takes.finished(take.file, finish, take.words)

    def _note(self, warnings: tuple[str, ...], index: int) -> None:
        for warning in warnings:
            code, _, message = warning.partition(": ")
            if code == FLAW_WARNING:  # takes are shared between jobs, so the chunk's index is known only here
                message = f"chunk {index}: {message}"
            self._warnings[(code, message) if message and _CODE.fullmatch(code) else ("backend", warning)] = None


async def _rendered(renderer: Renderer, part: FinishedPcm, *, last: bool) -> Rendered | None:
    """Append a chunk; after the last one, complete the file in the same call of the thread."""

    def render() -> Rendered | None:
        renderer.add(part.pcm, part.words)
        return renderer.finish() if last else None

    if last or len(part.pcm) >= IN_THREAD_S * part.rate:
        return await to_its_end(render)
    return render()

"""One utterance, from plan to finished file: which takes exist, who speaks the others, in which order they are joined.

At most `window` chunks of an utterance are between a backend and the file at any time, so a text of a megabyte needs
no more memory than a page. Every take is stored as soon as it is spoken, whatever its place; the file is written in
order. An utterance that begins again finds its takes and speaks only what is missing.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.cache.flights import Flights
from gateway.engines.dsp import Dsp
from gateway.engines.errors import ChunkPoisoned, ChunkRefused
from gateway.engines.order import ChunkOrder, TakeResult
from gateway.errors import InvalidInput, SynthesisFailed, UnsupportedText
from gateway.metrics import Metrics
from gateway.speech.checks import Check, Flaw
from gateway.speech.finish import Finish, finish_file
from gateway.speech.fresh import Fresh
from gateway.speech.keeper import Keeper
from gateway.speech.loudness import LevelMeter, gain_for
from gateway.speech.plan import split_again
from gateway.speech.render import Rendered, Renderer
from gateway.speech.retakes import FLAW_WARNING, best_take
from gateway.speech.script import Line, line, lines
from gateway.speech.seeds import chunk_seed, occurrences
from gateway.speech.shelf import Shelf
from gateway.speech.take import read_take, to_flac
from gateway.speech.text import has_speech
from gateway.speech.timing import Timing
from gateway.speech.utterance import SpeakingHost, Spoken, Utterance
from storage.errors import BlobMissing
from storage.records import TakeRecord

PAUSES_S = (0.1, 0.5)
"""Before each further try of a chunk: a vendor that is overloaded is not mended within a millisecond."""

RETRIES = len(PAUSES_S)
"""Further tries of a chunk that failed in a way another try may mend; each has its own seed."""

IN_THREAD_S = 0.5
"""Finished takes with at least this much sound are encoded in a thread, so that the event loop goes on."""

_CODE = re.compile(r"[a-z][a-z0-9_]*")
"""What a backend's warning must begin with, before `: `, to have a code of its own."""

Samples = npt.NDArray[np.int16]


class _Part(msgspec.Struct, frozen=True):
    """A chunk's finished samples and their rate."""

    pcm: Samples
    rate: int


class Speaker:
    """Speaks utterances; one for the whole process, so that equal chunks in flight are spoken once."""

    def __init__(self, shelf: Shelf, fresh: Fresh, dsp: Dsp, metrics: Metrics, window: int, take_retries: int) -> None:
        self._shelf = shelf
        self._fresh = fresh
        self._dsp = dsp
        self._metrics = metrics
        self._window = window
        self._take_retries = take_retries
        self._flights: Flights[tuple[TakeResult, Finish]] = Flights()

    async def speak(
        self,
        utterance: Utterance,
        host: SpeakingHost,
        spool: Path,
        timing: Timing,
        on_take: Callable[[int, int], None],
        on_kept: Callable[[], None] = lambda: None,
    ) -> Spoken:
        """Speak, join and encode. Its takes may still be on their way to the shelf: see `Spoken.kept`.

        Args:
            spool: where the encoded file is written.
            on_take: called with (chunks done, chunks in all) whenever a take is spoken or found.
            on_kept: called whenever a take is committed.

        Raises:
            InvalidInput, UnsupportedText: the text or an option is at fault.
            SynthesisFailed: the engine is.
            BackendUnavailable: it cannot be loaded.
        """
        work = _Work(self, utterance, host, timing, on_take, on_kept)
        try:
            return await work.run(spool)
        except BaseException:
            await work.close()
            raise

    # What follows is used by `_Work`.

    async def spoken(self, work: _Work, chunk: Line, seed: int) -> tuple[TakeResult, Finish, bool]:
        """One take from the host, shared with whoever asks for the same at the same time; the leader stores it.

        Returns:
            The take, how its samples were finished, and whether this was the leader.
        """

        async def speak(retry: int) -> TakeResult:
            order = work.order(chunk, work.seed(chunk, RETRIES + retry) if retry else seed)
            for _ in range(RETRIES):
                try:
                    return await ask(order)
                except ChunkRefused as refusal:
                    if refusal.kind != "out_of_memory" or not refusal.retryable:
                        raise
                    work.note_failure(refusal.kind)
            return await ask(order)

        async def ask(order: ChunkOrder) -> TakeResult:
            ticket = work.host.submit(order)
            with work.timing.watching(ticket):
                try:
                    return await ticket.future
                except asyncio.CancelledError:
                    ticket.cancel()
                    raise

        async def fly() -> tuple[TakeResult, Finish]:
            if work.checked:
                result, retried = await best_take(speak, self._take_retries, work.note_flaws)
                work.note_retries(retried)
            else:
                result = await speak(0)
            work.keeper.keep(chunk.key, result, work.finish)
            await work.keeper.room()
            return result, work.finish

        (take, finish), led = await self._flights.join(chunk.key, fly)
        return take, finish, led

    @property
    def shelf(self) -> Shelf:
        """Where takes rest."""
        return self._shelf

    @property
    def fresh(self) -> Fresh:
        """Where takes are until they rest."""
        return self._fresh

    @property
    def window(self) -> int:
        """Chunks of one utterance between backend and file."""
        return self._window

    @property
    def metrics(self) -> Metrics:
        """The server's counters."""
        return self._metrics

    async def joined(self, takes: list[TakeRecord]) -> TakeResult:
        """Takes one after the other, as one take."""
        flacs: list[bytes] = []
        for take in takes:
            flac = await self._shelf.read(take)
            if flac is None:
                raise BlobMissing(take.blob_hash)  # without it the text would lack some words
            flacs.append(flac)
        return await asyncio.to_thread(_join, takes, flacs)

    async def finished(self, flac: bytes, finish: Finish) -> Samples:
        """A stored take, finished; away from the event loop."""
        if finish.speed == 1.0:
            pcm, _ = await asyncio.to_thread(finish_file, flac, finish)
        else:
            pcm, _ = await self._dsp.run(finish_file, flac, finish)
        return pcm


class _Work:
    """One utterance under way."""

    def __init__(
        self,
        speaker: Speaker,
        utterance: Utterance,
        host: SpeakingHost,
        timing: Timing,
        on_take: Callable[[int, int], None],
        on_kept: Callable[[], None],
    ) -> None:
        self.speaker = speaker
        self.utterance = utterance
        self.host = host
        self.timing = timing
        self._on_take = on_take
        own = (utterance.tenant, utterance.source.voice_hash) if utterance.own_voice else (None, None)
        self.finish = Finish(speed=utterance.request.speed)
        self.checked = utterance.source.checks != ""
        self._lines = lines(utterance.plan, utterance.source, utterance.request.seed)
        at_once = len(self._lines) > 1 or not utterance.waited_for
        self._wish = msgspec.structs.replace(self.finish, pack=at_once)
        self.keeper = Keeper(speaker.shelf, speaker.fresh, utterance.ref, on_kept, own, at_once)
        self._stored: dict[str, TakeRecord] = {}
        self._tasks: dict[int, asyncio.Task[_Part]] = {}
        self._fresh: dict[str, tuple[TakeResult, Finish]] = {}
        self._news = asyncio.Event()
        self._done = 0
        self._spoken = 0
        self._engine_s = 0.0
        self._retried = 0
        self._warnings: dict[tuple[str, str], None] = {}

    async def run(self, spool: Path) -> Spoken:
        request = self.utterance.request
        if not self.utterance.own_takes:
            # Before the shelf is asked: what is committed in between is found there.
            fresh = self.speaker.fresh
            self._fresh = {each.key: take for each in self._lines if (take := fresh.get(each.key)) is not None}
        job_id = self.utterance.ref.job_id
        found = await self.speaker.shelf.find([each.key for each in self._lines], job_id)
        self._stored = {k: t for k, t in found.items() if t.job_id == job_id or not self.utterance.own_takes}
        gain = 1.0
        if request.loudness is not None:
            gain = await self._measure(request.loudness)
        left = len(self._lines)
        if not left:
            raise InvalidInput("text has nothing to speak: it needs at least one letter or digit")
        rendered: Rendered | None = None
        opening = asyncio.create_task(self._open(spool, gain))
        try:
            async for part in self._in_order():
                renderer = await asyncio.shield(opening)
                if part.rate != renderer.rate:
                    raise SynthesisFailed(
                        f"the backend said that it speaks at {renderer.rate} Hz, and spoke at {part.rate} Hz"
                    )
                left -= 1
                rendered = await _rendered(renderer, part, last=not left)
        except BaseException:
            await asyncio.wait((opening,))
            if opening.exception() is None:
                opening.result().abandon()
            raise
        assert rendered is not None  # the last part completes it
        self.keeper.check()
        if not self.utterance.waited_for:
            self.keeper.hurry()
        return Spoken(
            rendered=rendered,
            chunks=len(self._lines),
            chunks_spoken=self._spoken,
            engine_s=self._engine_s,
            warnings=tuple(self._warnings),
            takes_retried=self._retried,
            kept=self.keeper.kept,
        )

    async def _open(self, spool: Path, gain: float) -> Renderer:
        """The file's beginning, made while the engine speaks."""
        utterance, request = self.utterance, self.utterance.request
        return await asyncio.to_thread(
            Renderer,
            utterance.plan,
            speed=request.speed,
            format=request.format,
            path=spool,
            rate=utterance.rate,
            bitrate=request.bitrate,
            gain=gain,
        )

    async def close(self) -> None:
        """Withdraw what is still with the host; takes already spoken are stored all the same."""
        self.keeper.hurry()  # also where we are cancelled once more while we wait
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self.keeper.settled()

    def order(self, chunk: Line, seed: int) -> ChunkOrder:
        """What the host is asked to speak."""
        u = self.utterance
        check = Check(chunk.text) if self.checked else None
        return ChunkOrder(
            tenant=u.tenant,
            job_id=u.ref.job_id,
            index=chunk.index,
            text=chunk.text,
            voice=u.voice,
            language=u.source.language,
            seed=seed,
            options=u.options,
            low_priority=u.low_priority,
            finish=msgspec.json.encode(msgspec.structs.replace(self._wish, check=check)),
            has_letters=has_speech(chunk.text),
        )

    async def _measure(self, loudness: float) -> float:
        """Speak everything once into the store and measure its level; the takes are then read again in order."""
        meter: LevelMeter | None = None
        async for part in self._in_order():
            if meter is None:
                meter = LevelMeter(part.rate)
            meter.add(part.pcm)
        await self.keeper.kept()
        self._stored = await self.speaker.shelf.find([each.key for each in self._lines], self.utterance.ref.job_id)
        return 1.0 if meter is None else gain_for(meter.level(), loudness, meter.peak)

    async def _in_order(self) -> AsyncIterator[_Part]:
        """The finished chunks in the order of the text, `window` of them under way."""
        self._tasks.clear()
        ahead = 0
        for index in range(len(self._lines)):
            while ahead < len(self._lines) and ahead < index + self.speaker.window:
                task = self._tasks[ahead] = asyncio.create_task(self._chunk(ahead))
                task.add_done_callback(self._hear)
                ahead += 1
            part = await self._first_trouble(index)
            del self._tasks[index]
            yield part

    def _hear(self, _task: asyncio.Task[_Part]) -> None:
        self._news.set()

    async def _first_trouble(self, index: int) -> _Part:
        """The part that is due; a later chunk that has failed fails the utterance now, not when its turn comes."""
        due = self._tasks[index]
        while not due.done():
            self._news.clear()
            await self._news.wait()
            for task in self._tasks.values():
                if task.done():
                    task.result()
            self.keeper.check()
        return due.result()

    async def _chunk(self, index: int) -> _Part:
        due = self._lines[index]
        stored = self._stored.get(due.key)
        if stored is not None:
            flac = await self.speaker.shelf.read(stored)
            if flac is not None:
                self.timing.begin(time.monotonic())
                self._count("stored")
                self._note(stored.warnings, index)
                return _Part(await self.speaker.finished(flac, self.finish), stored.sample_rate)
        fresh = self._fresh.pop(due.key, None)
        if fresh is not None:
            self.timing.begin(time.monotonic())
            return await self._heard(due, *fresh, "shared")
        return await self._speak(due)

    async def _speak(self, chunk: Line) -> _Part:
        """One chunk from the host, tried again where that may help, split where it is too long."""
        seed = chunk.seed
        for attempt in range(RETRIES + 1):
            try:
                result, finish, led = await self.speaker.spoken(self, chunk, seed)
            except ChunkRefused as refusal:
                self.note_failure(refusal.kind)
                if refusal.kind == "too_long":
                    return await self._split(chunk, refusal)
                # Short of memory, the same seed was tried again already; another one would be other sound.
                if not refusal.retryable or refusal.kind == "out_of_memory" or attempt == RETRIES:
                    raise _named(refusal, chunk.text) from refusal
                await asyncio.sleep(PAUSES_S[attempt])
                seed = self.seed(chunk, attempt + 1)
                continue
            except ChunkPoisoned as poisoned:
                self.note_failure("poisoned")
                raise SynthesisFailed(_about(poisoned, chunk.text)) from poisoned
            if led:
                self._spoken += 1
                self._engine_s += result.engine_s
            return await self._heard(chunk, result, finish, "spoken" if led else "shared")
        raise AssertionError("the loop returns or raises")

    async def _heard(self, chunk: Line, take: TakeResult, finish: Finish, origin: str) -> _Part:
        """A take as this utterance wants it."""
        if take.warnings:
            self._note(take.warnings, chunk.index)
        if take.gain_db:
            gain = f"take_gain: a take peaked above full scale and was lowered by {-take.gain_db:.1f} dB"
            self._note((gain,), chunk.index)
        self._count(origin)
        if origin == "shared":
            self.keeper.use(chunk.key)
        if finish == self.finish:
            return _Part(np.frombuffer(take.pcm, dtype="<i2"), take.rate)
        # Whoever asked first wanted another speed.
        return _Part(await self.speaker.finished(take.file, self.finish), take.rate)

    async def _split(self, whole: Line, refusal: ChunkRefused) -> _Part:
        """A chunk its engine calls too long, spoken in pieces; their takes joined are its take."""
        utterance = self.utterance
        texts = split_again(whole.text, utterance.source.language, utterance.chunk_rule)
        if len(texts) < 2:
            raise _named(refusal, whole.text) from refusal
        pieces = []
        for text, nth in zip(texts, occurrences(texts), strict=True):
            piece = line(whole.index, text, nth, utterance.source, utterance.request.seed)
            await self._speak(piece)
            pieces.append(piece.key)
        await self.keeper.kept()
        takes = await self.speaker.shelf.find(pieces, utterance.ref.job_id)
        joined = await self.speaker.joined([takes[key] for key in pieces])
        self.keeper.keep(whole.key, joined)
        return _Part(await self.speaker.finished(joined.file, self.finish), joined.rate)

    def _count(self, origin: str) -> None:
        self._done = min(self._done + 1, len(self._lines))
        self.speaker.metrics.takes.labels(self.utterance.source.backend, origin).inc()
        self._on_take(self._done, len(self._lines))

    def seed(self, chunk: Line, retry: int) -> int:
        """Another seed for a chunk whose take was refused (1 to RETRIES) or flawed (above)."""
        return chunk_seed(self.utterance.request.seed or 0, chunk.text, chunk.nth, retry)

    def note_failure(self, kind: str) -> None:
        """A chunk was refused."""
        self.speaker.metrics.take_failures.labels(self.utterance.source.backend, kind).inc()

    def note_flaws(self, flaws: tuple[Flaw, ...]) -> None:
        """A take was flawed."""
        for flaw in flaws:
            self.speaker.metrics.take_flaws.labels(self.utterance.source.backend, flaw.name).inc()

    def note_retries(self, retries: int) -> None:
        """A chunk was spoken so many times more than once."""
        self._retried += retries
        self.speaker.metrics.take_retries.labels(self.utterance.source.backend).inc(retries)

    def _note(self, warnings: tuple[str, ...], index: int) -> None:
        for warning in warnings:
            code, _, message = warning.partition(": ")
            if code == FLAW_WARNING:  # takes are shared, so only here is it known which chunk it is
                message = f"chunk {index}: {message}"
            self._warnings[(code, message) if message and _CODE.fullmatch(code) else ("backend", warning)] = None


def _about(error: Exception, text: str) -> str:
    """The error with the text it is about: a caller with a hundred paragraphs must know which one."""
    excerpt = text if len(text) <= 80 else f"{text[:77]}..."
    return f"{error} (text: {excerpt!r})"


def _join(takes: list[TakeRecord], flacs: list[bytes]) -> TakeResult:
    pcm = np.concatenate([read_take(flac)[0] for flac in flacs])
    rate = takes[0].sample_rate
    return TakeResult(
        file=to_flac(pcm, rate),
        samples=pcm.size,
        rate=rate,
        pcm=b"",
        gain_db=min(take.gain_db for take in takes),
        warnings=tuple(warning for take in takes for warning in take.warnings),
        engine_s=0.0,
    )


def _named(refusal: ChunkRefused, text: str) -> Exception:
    message = _about(refusal, text)
    if refusal.kind == "unsupported_text":
        return UnsupportedText(message)
    if refusal.kind in ("invalid_input", "too_long"):
        return InvalidInput(message)
    return SynthesisFailed(message)


async def _rendered(renderer: Renderer, part: _Part, *, last: bool) -> Rendered | None:
    """Append a part; with the last one, complete the file in the same turn of a thread."""

    def render() -> Rendered | None:
        renderer.add(part.pcm)
        return renderer.finish() if last else None

    if last or len(part.pcm) >= IN_THREAD_S * part.rate:
        return await asyncio.to_thread(render)
    return render()

"""Makes the take of each chunk: finds it, shares it with other utterances, has it spoken with retries, or in pieces."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from gateway.engines.chunk import ChunkSpec
from gateway.engines.errors import ChunkPoisoned, ChunkRefused
from gateway.engines.order import ChunkOrder, Rank, TakeResult
from gateway.errors import InvalidInput, SynthesisFailed, UnsupportedText
from gateway.speech.sound.checks import Check, Flaw
from gateway.speech.sound.finish import Finish
from gateway.speech.sound.take import read_take, to_flac
from gateway.speech.sound.word_times import from_json, shifted
from gateway.speech.speak.chunk_take import ChunkTake, TakeOrigin
from gateway.speech.speak.means import SpeakingMeans
from gateway.speech.speak.retakes import best_take
from gateway.speech.speak.retries import with_retries
from gateway.speech.speak.take_writer import TakeWriter
from gateway.speech.speak.tally import TakeTally
from gateway.speech.speak.timing import Timing
from gateway.speech.speak.utterance import SpeakingHost, Utterance
from gateway.speech.text.cleaning import has_speech
from gateway.speech.text.plan import split_again
from gateway.speech.text.script import PlannedChunk, pieces_of
from gateway.speech.text.seeds import chunk_seed
from storage.records import TakeRecord


class TakeMaker:
    """Makes the takes of one utterance. Equal chunks of all utterances of a server are spoken once.

    Args:
        take_writer: stores the takes.
        timing: is told when the work began.
        took: called for each take, also of a piece.
    """

    def __init__(
        self,
        means: SpeakingMeans,
        utterance: Utterance,
        host: SpeakingHost,
        take_writer: TakeWriter,
        timing: Timing,
        took: Callable[[], None],
    ) -> None:
        self._means = means
        self._takes = means.takes
        self._take_writer = take_writer
        self._utterance = utterance
        self._host = host
        self._timing = timing
        self._took = took
        self.tally = TakeTally()
        self._checked = utterance.checked
        self._searched: set[str] = set()
        self._seen_changes = 0

    async def find_stored(self, script: Sequence[PlannedChunk]) -> dict[str, TakeRecord]:
        """Return the stored takes of the chunks, by key. Takes that other utterances make later are found by `make`."""
        self._seen_changes = self._others_changes  # before the query, which may miss takes that are stored meanwhile
        found = await self._stored(script)
        self._searched = {each.key for each in script}
        return found

    @property
    def _others_changes(self) -> int:
        """Return a count that grows when another utterance of this server makes or stores a take."""
        return self._takes.fresh.changes - self._take_writer.changes

    async def _stored(self, wanted: Sequence[PlannedChunk]) -> dict[str, TakeRecord]:
        """Return the stored takes of these chunks that the utterance may use, by key."""
        job_id = self._utterance.ref.job_id
        found = await self._takes.stored.find([each.key for each in wanted], job_id)
        if self._utterance.own_takes:
            found = {key: take for key, take in found.items() if take.job_id == job_id}
        for each in wanted:
            take = found.get(each.key)
            if take is not None and take.job_id == job_id:
                self.tally.found(each, take.samples / take.sample_rate)
        return found

    async def make(self, chunk: PlannedChunk, rank: Rank | None = None) -> ChunkTake:
        """Return the take of a chunk; it is stored or being stored.

        Args:
            rank: of the chunk that this one is a piece of; None: the rank of the utterance.

        Raises:
            InvalidInput, UnsupportedText: the text or an option cannot be used.
            SynthesisFailed: the engine failed.
            BackendUnavailable: the backend cannot be loaded.
        """

        async def make_take(flight: Rank) -> ChunkTake:
            return await self._found(chunk) or await self._synthesize(chunk, flight)

        made, led = await self._means.flights.join(chunk.key, make_take, rank or self._utterance.rank)
        if not led:
            made = msgspec.structs.replace(made, origin="shared")
        if made.origin == "shared":
            self._take_writer.pin(chunk.key)
        self.count(made.origin)
        return made

    def count(self, origin: TakeOrigin) -> None:
        """Count a take in the metrics and report it to the listener."""
        if origin != "pieces":  # each piece was counted
            self._means.metrics.takes.labels(self._utterance.backend, origin).inc()
        self._took()

    async def _found(self, chunk: PlannedChunk) -> ChunkTake | None:
        """Return a take that another utterance has made since `find_stored`. Called as the leader of the flight."""
        fresh = self._takes.fresh
        known = None if self._utterance.own_takes else fresh.get(chunk.key)
        if known is not None:
            self._timing.begin()
            return ChunkTake(*known, "shared")
        if chunk.key in self._searched and self._others_changes == self._seen_changes:
            return None
        stored = (await self._stored((chunk,))).get(chunk.key)
        file = None if stored is None else await self._takes.stored.read(stored)
        if stored is None or file is None:
            return None
        self._timing.begin()
        take = TakeResult(
            file,
            stored.samples,
            b"",
            stored.gain_db,
            words=from_json(stored.words),
            rate=stored.sample_rate,
            warnings=stored.warnings,
            engine_s=0.0,
        )
        return ChunkTake(take, None, "stored")

    async def _synthesize(self, chunk: PlannedChunk, rank: Rank) -> ChunkTake:
        """Have the host speak a take: with retries, and in pieces if the chunk is too long for the engine."""
        origin: TakeOrigin = "spoken"
        try:
            take = await self._spoken(chunk, rank)
        except ChunkRefused as refusal:
            if refusal.kind != "too_long":
                raise _named(refusal, chunk.text) from refusal
            take, origin = await self._in_pieces(chunk, refusal, rank), "pieces"
        except ChunkPoisoned as poisoned:
            raise SynthesisFailed(_about(poisoned, chunk.text)) from poisoned
        finish = Finish(speed=chunk.speed)
        self._take_writer.add(chunk, take, finish)
        await self._take_writer.wait_for_room()
        return ChunkTake(take, finish, origin)

    async def _spoken(self, chunk: PlannedChunk, rank: Rank) -> TakeResult:
        retries = self._means.retries

        async def speak(flawed: int) -> TakeResult:
            async def once(failed: int) -> TakeResult:
                retry = len(retries.pauses_s) + flawed if flawed else failed
                seed = self._seed(chunk, retry) if retry else chunk.seed
                return await self._ask(chunk, self._order(chunk, seed), rank)

            # A take without flaws is worth other seeds; for a further try the best take so far is good enough.
            return await with_retries(once, retries, new_seeds=not flawed)

        if not self._checked:
            return await speak(0)
        take, retried = await best_take(speak, retries.flawed, self._note_flaws)
        self.tally.retried += retried
        self._means.metrics.take_retries.labels(self._utterance.backend).inc(retried)
        return take

    async def _ask(self, chunk: PlannedChunk, order: ChunkOrder, rank: Rank) -> TakeResult:
        ticket = self._host.submit(msgspec.structs.replace(order, lane=rank.lane))
        with rank.lifting(ticket.lift), self._timing.tracking(ticket):
            try:
                take = await ticket.future
            except asyncio.CancelledError:
                ticket.cancel()
                raise
        self.tally.spoken(chunk, take.samples / take.rate, take.engine_s)
        return take

    async def _in_pieces(self, whole: PlannedChunk, refusal: ChunkRefused, rank: Rank) -> TakeResult:
        """Speak a chunk that is too long for its engine in pieces, and join their takes."""
        utterance = self._utterance
        texts = split_again(whole.text, whole.use.source.language, utterance.chunk_rule)
        if len(texts) < 2 or whole.speak.ssml is not None:  # markup cannot be split between words
            raise _named(refusal, whole.text) from refusal
        pieces = pieces_of(whole, texts, utterance.request.seed)
        takes = [(await self.make(piece, rank)).take for piece in pieces]
        joined = await asyncio.to_thread(_join, takes)
        self.tally.joined(whole.key)
        finished = await self._takes.finished(joined.file, Finish(speed=whole.speed), joined.words)
        pcm = finished.pcm.astype("<i2", copy=False).tobytes()
        return msgspec.structs.replace(joined, pcm=pcm, pcm_words=finished.words)

    def _order(self, chunk: PlannedChunk, seed: int) -> ChunkOrder:
        """Return the order for the host."""
        u = self._utterance
        finish = Finish(
            speed=chunk.speed, check=Check(chunk.text) if self._checked else None, pack=self._take_writer.at_once
        )
        return ChunkOrder(
            tenant=u.tenant,
            job_id=u.ref.job_id,
            index=chunk.index,
            spec=ChunkSpec(
                text=chunk.text,
                voice=chunk.use.voice,
                language=chunk.use.source.language,
                seed=seed,
                ssml=chunk.speak.ssml,
                options=u.options,
                finish=msgspec.json.encode(finish),
                has_letters=has_speech(chunk.text),
            ),
        )

    def _seed(self, chunk: PlannedChunk, retry: int) -> int:
        """Return the seed of a retry: small numbers after failures, greater ones after flawed takes."""
        return chunk_seed(self._utterance.request.seed or 0, chunk.text, chunk.nth, retry)

    def _note_flaws(self, flaws: tuple[Flaw, ...]) -> None:
        for flaw in flaws:
            self._means.metrics.take_flaws.labels(self._utterance.backend, flaw.name).inc()


def _join(takes: list[TakeResult]) -> TakeResult:
    """Join takes to one take."""
    pcm = np.concatenate([read_take(take.file)[0] for take in takes])
    before = itertools.accumulate((take.samples for take in takes), initial=0)
    return TakeResult(
        file=to_flac(pcm, takes[0].rate),
        samples=pcm.size,
        rate=takes[0].rate,
        pcm=b"",
        gain_db=min(take.gain_db for take in takes),
        warnings=tuple(warning for take in takes for warning in take.warnings),
        words=tuple(word for take, at in zip(takes, before, strict=False) for word in shifted(take.words, at)),
        engine_s=0.0,
    )


def _about(error: Exception, text: str) -> str:
    """Return the error's message with the chunk's text, so that the caller finds the place in a long text."""
    excerpt = text if len(text) <= 80 else f"{text[:77]}..."
    return f"{error} (text: {excerpt!r})"


def _named(refusal: ChunkRefused, text: str) -> Exception:
    message = _about(refusal, text)
    if refusal.kind == "unsupported_text":
        return UnsupportedText(message)
    if refusal.kind in ("invalid_input", "too_long"):
        return InvalidInput(message)
    return SynthesisFailed(message)

"""The fast engine: token decoder, mel decoder, vocoder and watermark in one loop over the feed."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any

import torch
import torch.nn.functional as F

from backends.chatterbox.cache import Allocate, allocate_zeros
from backends.chatterbox.conditionals import VoiceConditionals
from backends.chatterbox.device import is_lost, is_out_of_memory, release_memory, to_device
from backends.chatterbox.draws import Draws
from backends.chatterbox.knobs import knobs_of, token_cap
from backends.chatterbox.models import Model
from backends.chatterbox.pulse import PassAborted, Pulse
from backends.chatterbox.s3gen import VALID_TOKENS, Speech, bucket, decode_mels, vocode
from backends.chatterbox.settings import ChatterboxSettings
from backends.chatterbox.slots import build_decoder, shrink
from backends.chatterbox.t3 import ChunkDecoding, Decoded, TooLong
from backends.chatterbox.watermark import WatermarkPool
from backends.interface import Chunk, ChunkFailed, Event, Feed, Pcm, Take

_BATCH_STEPS = 24
"""Steps a chunk's tokens wait for others to share a mel batch; about a second of speech."""

_IDLE_S = 0.05
"""Seconds to wait for watermarks before the next look at the feed."""

_GROW_AFTER = 64
"""Takes after which an engine that ran out of memory tries more slots again."""

_LOST = "the engine lost this chunk; that is a fault of the engine, please report it"


class FastEngine:
    """Speaks English, many chunks at a time.

    An error fails one chunk only: a text that cannot be read, logits that are not finite, too little memory for it even
    alone. When memory runs out, the engine starts the chunks again with half the slots; each chunk has its own random
    numbers, so it sounds the same.

    `_open` holds the chunks that need an event. A cancel removes a chunk from it at once, also during a forward pass;
    `_sweep` removes it from the other stages between passes.

    Args:
        model: upstream's ChatterboxTTS.
        mel_rows: most chunks in a mel batch; None means 8 on a GPU, and 1 elsewhere, where batching gains nothing.
        allocate: allocates the large buffers.
    """

    def __init__(
        self,
        model: Any,
        facts: Model,
        settings: ChatterboxSettings,
        *,
        dtype: torch.dtype = torch.float32,
        threads: int = 1,
        mel_rows: int | None = None,
        allocate: Allocate = allocate_zeros,
    ) -> None:
        self._model, self._facts, self._settings = model, facts, settings
        self._allocate = allocate
        self._punctuate = _punctuation_of(model)
        self._voices = VoiceConditionals(model, settings.heard_s, voices_dir=settings.voices_dir)
        self._pulse = Pulse(model.s3gen, model.ve)
        self._decoder = build_decoder(model.t3, settings, dtype, allocate, self._pulse.beat)
        self._device = self._decoder.device
        usual = 8 if self._device.type == "cuda" else 1
        self._mel_rows = 1 if settings.deterministic else (mel_rows or usual)
        self._watermarks = WatermarkPool(model.watermarker, model.sr, max(1, min(4, threads)))
        self._good = 0  # takes since memory ran out
        self._reset()

    @property
    def slots(self) -> int:
        """Number of chunks decoded at a time, as far as memory allows."""
        return self._decoder.slots

    @property
    def decoding(self) -> int:
        """Number of chunks being decoded."""
        return self._decoder.active

    def synthesize(self, feed: Feed) -> Iterator[Event]:
        """See Backend.synthesize."""
        self._reset()
        self._pulse.listen = lambda: self._listen(feed)
        try:
            while True:
                room = min(self._decoder.room - len(self._pending), 2 * self._decoder.slots - len(self._open))
                chunks = feed.take(room, wait=not self._open) if room > 0 else []
                if not chunks and not self._open:
                    return
                with torch.inference_mode():  # not around the yield: it would apply to the caller too
                    events = self._turn(chunks, feed)
                yield from events
        finally:
            self._pulse.listen = None
            self._decoder.clear()

    def close(self) -> None:
        """End the watermark threads and remove the hooks from the model."""
        self._watermarks.close()
        self._pulse.remove()

    # -- one turn -------------------------------------------------------------------------------
    def _reset(self) -> None:
        self._open: dict[int, Chunk] = {}
        self._pending: list[ChunkDecoding] = []
        self._spoken: list[tuple[Speech, int]] = []  # with the turn their tokens ended in
        self._watermarking: dict[int, Future[Pcm]] = {}
        self._notes: dict[int, tuple[str, ...]] = {}
        self._computing: Collection[int] = ()  # chunks of the current forward pass
        self._turns = 0

    def _turn(self, chunks: list[Chunk], feed: Feed) -> list[Event]:
        self._turns += 1
        events: list[Event] = []
        self._open |= {chunk.id: chunk for chunk in chunks}
        for chunk in chunks:
            if chunk.id in self._open:
                self._admit(chunk, events)
        self._listen(feed)
        self._sweep()
        self._grow()
        for decoded in self._decode(events):
            self._receive(decoded, events)
        self._sound(events)
        self._collect(events)
        self._sweep()
        self._fail_lost(events)
        return events

    def _listen(self, feed: Feed) -> None:
        """Drop cancelled chunks. If the current forward pass has no other chunk, abort it."""
        for key in [key for key in self._open if feed.cancelled(key)]:
            self._open.pop(key)
            self._notes.pop(key, None)
        if self._computing and not any(key in self._open for key in self._computing):
            raise PassAborted

    @contextlib.contextmanager
    def _working(self, keys: Collection[int]) -> Iterator[None]:
        self._computing = keys
        try:
            yield
        finally:
            self._computing = ()

    def _sweep(self) -> None:
        """Remove dropped chunks from all stages."""
        self._decoder.drop(self._decoder.keys - self._open.keys())
        self._pending = [job for job in self._pending if job.key in self._open]
        self._spoken = [(speech, turn) for speech, turn in self._spoken if speech.key in self._open]

    def _fail_lost(self, events: list[Event]) -> None:
        """Fail chunks that are open but in no stage: they would never get an event."""
        places = len(self._pending) + len(self._spoken) + len(self._watermarking)
        if len(self._open) <= self._decoder.active + places:
            return
        waiting = {job.key for job in self._pending} | {speech.key for speech, _ in self._spoken}
        for key in self._open.keys() - self._decoder.keys - waiting - self._watermarking.keys():
            self._fail(key, _LOST, events, retryable=True)

    def _fail(self, key: int, error: str, events: list[Event], **rest: Any) -> None:
        self._notes.pop(key, None)
        if self._open.pop(key, None) is not None:
            events.append(ChunkFailed(key, error, **rest))

    def _fail_for_memory(self, key: int, events: list[Event]) -> None:
        error = f"out of memory on {self._device}, even alone"
        self._fail(key, error, events, retryable=True, kind="out_of_memory")

    # -- text -> tokens -------------------------------------------------------------------------
    def _admit(self, chunk: Chunk, events: list[Event]) -> None:
        try:
            with self._working([chunk.id]):
                self._pending.append(self._job(chunk))
            return
        except PassAborted:
            return
        except TooLong as error:
            self._fail(chunk.id, str(error), events, kind="too_long")
            return
        except ValueError as error:
            self._fail(chunk.id, str(error), events, kind="invalid_input")
            return
        except Exception as error:  # one bad chunk must not end the engine
            if is_lost(error):
                raise
            if not is_out_of_memory(error):
                self._fail(chunk.id, f"{type(error).__name__}: {error}", events, retryable=True)
                return
        # Here and below after the handler: its traceback would keep the tensors of the failed pass alive.
        if self._retreat():
            self._admit(chunk, events)
        else:
            self._fail_for_memory(chunk.id, events)

    def _job(self, chunk: Chunk) -> ChunkDecoding:
        hp = self._model.t3.hp
        tokens = self._model.tokenizer.text_to_tokens(self._punctuate(chunk.text))[0].long()
        known = self._model.t3.text_emb.num_embeddings
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < known:
            # On a GPU the look-up would crash the process with all its chunks.
            raise ValueError(f"the tokenizer gave the text a token that the model lacks; it knows {known}")
        tokens = F.pad(F.pad(tokens, (1, 0), value=hp.start_text_token), (0, 1), value=hp.stop_text_token)
        return ChunkDecoding(
            chunk.id,
            tokens,
            self._voices.of(chunk.voice),
            knobs_of(chunk.options, self._facts),
            Draws(chunk.seed, self._device),
            token_cap(chunk.text),
        )

    def _decode(self, events: list[Event]) -> list[Decoded]:
        room = self._decoder.room
        joining, self._pending = self._pending[:room], self._pending[room:]
        try:
            for batch in self._decoder.batches(joining):
                self._join([job for job in batch if job.key in self._open], events)
            joining = []
            self._sweep()
            with self._working(self._decoder.keys):
                return self._decoder.step()
        except PassAborted:
            self._decoder.clear()
            return []
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        over = self._decoder.finished()
        if not self._retreat(joining):
            waiting = self._put_back(joining)
            if waiting:  # the last chunk to join is the one that did not fit: before it all others did
                self._fail_for_memory(waiting[-1].key, events)
        return over

    def _join(self, jobs: list[ChunkDecoding], events: list[Event]) -> None:
        """Read prompts; after an error read them one at a time, so that one chunk only fails."""
        if not jobs:
            return
        try:
            with self._working([job.key for job in jobs]):
                self._decoder.add(jobs)
            return
        except PassAborted:
            return
        except Exception as error:
            short = is_out_of_memory(error)
            if is_lost(error) or (short and self._may_retreat):
                raise
            if len(jobs) == 1 and not short:
                self._fail(jobs[0].key, f"{type(error).__name__}: {error}", events, retryable=True)
        if short:
            release_memory(self._device)
            self._fail_for_memory(jobs[-1].key, events)
        for job in jobs:
            if job.key in self._open:
                self._join([job], events)

    @property
    def _may_retreat(self) -> bool:
        # A deterministic engine keeps its number of slots: other shapes give other bytes.
        return self._decoder.slots > 1 and not self._settings.deterministic

    def _retreat(self, joining: Sequence[ChunkDecoding] = ()) -> bool:
        """Free memory: start the chunks again with half the slots. False if there is only one slot."""
        if not self._may_retreat:
            return False
        self._put_back(joining)
        shrink(self._decoder)
        return True

    def _put_back(self, joining: Sequence[ChunkDecoding]) -> list[ChunkDecoding]:
        """Put chunks that are decoded, or were about to be, back among the pending ones, in the order they arrived."""
        jobs = {job.key: job for job in (*self._decoder.clear(), *joining)}
        back = [jobs[key].again() for key in self._open if key in jobs]
        self._pending = back + self._pending
        self._good = 0
        release_memory(self._device)
        return back

    def _grow(self) -> None:
        """Try more slots when no chunk is decoded and memory ran out some time ago: it may be free now."""
        if self._good < _GROW_AFTER or self._decoder.active or self._decoder.slots >= self._settings.slots:
            return
        self._good = 0
        try:
            self._decoder.resize(min(2 * self._decoder.slots, self._settings.slots))
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        shrink(self._decoder)

    # -- tokens -> sound ------------------------------------------------------------------------
    def _receive(self, decoded: Decoded, events: list[Event]) -> None:
        job = decoded.job
        if job.key not in self._open:
            return
        sounds = [token for token in decoded.tokens if token < VALID_TOKENS]
        if decoded.broken:
            self._fail(job.key, "the model's logits are not finite", events, retryable=True)
        elif not sounds:
            self._fail(job.key, "the model spoke no sound", events, retryable=True)
        else:
            if not decoded.ended:
                # The gateway counts a warning with this prefix as a flaw, and speaks the chunk again.
                cut = f"missed_eos: cut at {len(decoded.tokens)} speech tokens, before the model found an end"
                self._notes[job.key] = (cut,)
            # Copied without waiting: the host would wait for the step that was just started.
            speech = Speech(job.key, to_device(torch.tensor(sounds), self._device), job.conds.gen, job.draws)
            self._spoken.append((speech, self._turns))

    def _sound(self, events: list[Event]) -> None:
        """Synthesise chunks with tokens, once they fill a batch, have waited long, or no chunk is decoded."""
        while True:
            self._sweep()
            if not self._spoken:
                return
            oldest = self._spoken[0][1]
            full = len(self._spoken) >= self._mel_rows
            if not full and self._decoder.active and self._turns - oldest < _BATCH_STEPS:
                return
            batch = bucket([speech for speech, _ in self._spoken], self._mel_rows)
            taken = {speech.key for speech in batch}
            self._spoken = [(speech, turn) for speech, turn in self._spoken if speech.key not in taken]
            self._sound_batch(batch, events)
            if self._decoder.active:
                return  # one batch a turn, so that decoding goes on

    def _sound_batch(self, batch: list[Speech], events: list[Event]) -> None:
        before = [speech.draws.state() for speech in batch]
        try:
            with self._working([speech.key for speech in batch]):
                mels = decode_mels(self._model.s3gen, batch, self._settings.steps, self._allocate)
                for speech, mel in zip(batch, mels, strict=True):
                    if speech.key in self._open:
                        self._watermarking[speech.key] = self._watermarks.submit(
                            vocode(self._model.s3gen, mel, speech.draws)
                        )
            return
        except PassAborted:
            return
        except Exception as error:
            if is_lost(error):
                raise
            if len(batch) == 1 and not is_out_of_memory(error):  # a larger batch is split below
                self._fail(batch[0].key, f"{type(error).__name__}: {error}", events, retryable=True)
        release_memory(self._device)
        for speech, state in zip(batch, before, strict=True):
            speech.draws.restore(state)
        rest = [speech for speech in batch if speech.key in self._open and speech.key not in self._watermarking]
        if len(batch) == 1 and rest and not self._retreat():
            self._fail_for_memory(rest[0].key, events)
            return
        half = len(rest) // 2
        for part in (rest[:half], rest[half:]):
            if remaining := [speech for speech in part if speech.key in self._open]:
                self._sound_batch(remaining, events)

    def _collect(self, events: list[Event]) -> None:
        if self._watermarking and not (self._decoder.active or self._pending or self._spoken):
            wait(self._watermarking.values(), timeout=_IDLE_S, return_when="FIRST_COMPLETED")
        for key in [key for key, future in self._watermarking.items() if future.done()]:
            future = self._watermarking.pop(key)
            notes = self._notes.pop(key, ())
            if (error := future.exception()) is not None:
                self._fail(key, f"watermark: {type(error).__name__}: {error}", events, retryable=True)
            elif self._open.pop(key, None) is not None:
                self._good += 1
                events.append(Take(key, future.result(), self._model.sr, notes))


def _punctuation_of(model: Any) -> Any:
    """Return upstream's function that normalises punctuation, from the module of the model's class."""
    import importlib

    return importlib.import_module(type(model).__module__).punc_norm

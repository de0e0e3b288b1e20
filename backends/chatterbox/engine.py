"""The fast engine: token decoder, mel decoder, vocoder and watermark joined in one loop over the feed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any

import torch
import torch.nn.functional as F

from backends.chatterbox.cache import Allocate, allocate_zeros
from backends.chatterbox.conditionals import VoiceConditionals
from backends.chatterbox.device import is_lost, is_out_of_memory, release_memory
from backends.chatterbox.draws import Draws
from backends.chatterbox.knobs import knobs_of, token_cap
from backends.chatterbox.models import Model
from backends.chatterbox.pulse import Abandoned, Pulse
from backends.chatterbox.s3gen import VALID_TOKENS, Speech, bucket, decode_mels, vocode
from backends.chatterbox.settings import ChatterboxSettings
from backends.chatterbox.t3 import Decoded, DecodeJob, T3Decoder, TooLong
from backends.chatterbox.watermark import WatermarkPool
from backends.interface import BackendUnavailable, Chunk, ChunkFailed, Event, Feed, Pcm, Take

_PATIENCE = 24
"""Steps finished tokens wait for others to share a mel batch; about a second of speech."""

_IDLE_S = 0.05
"""How long to wait for watermarks before looking at the feed again."""

_TRY_AGAIN = 64
"""Takes after which an engine that was short of memory tries more slots again."""

_OUT_OF_MEMORY = "out of memory on {device}, even alone"


class FastEngine:
    """Speaks English with many chunks at a time.

    A failure is a chunk's own: a text that cannot be read, logits that are not finite, memory that does not suffice
    for it even alone. Short of memory for all, the engine begins again with half the slots; a chunk's random numbers
    are its own, so that sounds the same.

    Args:
        model: upstream's ChatterboxTTS.
        mel_rows: chunks that share a mel batch at most; None means 8 on a GPU and, where sharing gains nothing, 1.
        allocate: where the large buffers come from.
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
        self._voices = VoiceConditionals(model, settings.heard_s)
        self._decoder = _build_decoder(model.t3, settings, dtype, allocate)
        self._device = self._decoder.device
        usual = 8 if self._device.type == "cuda" else 1
        self._mel_rows = 1 if settings.deterministic else (mel_rows or usual)
        self._watermarks = WatermarkPool(model.watermarker, model.sr, max(1, min(4, threads)))
        self._pulse = Pulse(model.s3gen.flow, model.s3gen.mel2wav)
        self._good = 0  # takes since memory was short
        self._reset()

    @property
    def slots(self) -> int:
        """Chunks decoded at a time, as memory allows."""
        return self._decoder.slots

    @property
    def decoding(self) -> int:
        """Chunks whose tokens are being decoded."""
        return self._decoder.active

    def synthesize(self, feed: Feed) -> Iterator[Event]:
        """See Backend.synthesize."""
        self._reset()
        self._pulse.listen = lambda: self._listen(feed)
        try:
            while True:
                room = min(self._decoder.room - len(self._pending), 2 * self._decoder.slots - len(self._hand))
                chunks = feed.take(room, wait=not self._hand) if room > 0 else []
                if not chunks and not self._hand:
                    return
                with torch.inference_mode():  # not around the yield: that would put our caller under it too
                    events = self._turn(chunks, feed)
                yield from events
        finally:
            self._pulse.listen = None
            self._decoder.clear()

    def close(self) -> None:
        """End the watermark threads and leave the model as it was."""
        self._watermarks.close()
        self._pulse.remove()

    # -- one turn -------------------------------------------------------------------------------
    def _reset(self) -> None:
        self._hand: dict[int, Chunk] = {}
        self._pending: list[DecodeJob] = []
        self._spoken: list[tuple[Speech, int]] = []  # and the turn they were ready at
        self._marking: dict[int, Future[Pcm]] = {}
        self._notes: dict[int, tuple[str, ...]] = {}
        self._in_mels: list[int] = []
        self._turns = 0

    def _turn(self, chunks: list[Chunk], feed: Feed) -> list[Event]:
        self._turns += 1
        events: list[Event] = []
        for chunk in chunks:
            self._hand[chunk.id] = chunk
            self._admit(chunk, events)
        self._listen(feed)
        self._grow()
        for decoded in self._decode(events):
            self._receive(decoded, events)
        self._sound(events)
        self._collect(events)
        return events

    def _listen(self, feed: Feed) -> None:
        """Let go of what nobody wants any more, wherever it is; within a mel batch, stop once that is all of it."""
        unwanted = {key for key in self._hand if feed.cancelled(key)}
        for key in unwanted:
            self._hand.pop(key)
            self._notes.pop(key, None)
        if unwanted:
            self._decoder.drop(unwanted)
            self._pending = [job for job in self._pending if job.key not in unwanted]
            self._spoken = [(speech, turn) for speech, turn in self._spoken if speech.key not in unwanted]
        if self._in_mels and not any(key in self._hand for key in self._in_mels):
            raise Abandoned

    def _fail(self, key: int, error: str, events: list[Event], **rest: Any) -> None:
        self._notes.pop(key, None)
        if self._hand.pop(key, None) is not None:
            events.append(ChunkFailed(key, error, **rest))

    # -- text -> tokens -------------------------------------------------------------------------
    def _admit(self, chunk: Chunk, events: list[Event]) -> None:
        try:
            self._pending.append(self._job(chunk))
        except TooLong as error:
            self._fail(chunk.id, str(error), events, kind="too_long")
        except ValueError as error:
            self._fail(chunk.id, str(error), events, kind="invalid_input")
        except Exception as error:  # one bad chunk must not end the engine
            if is_lost(error):
                raise
            self._fail(chunk.id, f"{type(error).__name__}: {error}", events, retryable=True)

    def _job(self, chunk: Chunk) -> DecodeJob:
        hp = self._model.t3.hp
        tokens = self._model.tokenizer.text_to_tokens(self._punctuate(chunk.text))[0].long()
        known = self._model.t3.text_emb.num_embeddings
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < known:
            # A GPU that looked it up would take everybody's chunks down with it.
            raise ValueError(f"the tokenizer gave the text a token that the model lacks; it knows {known}")
        tokens = F.pad(F.pad(tokens, (1, 0), value=hp.start_text_token), (0, 1), value=hp.stop_text_token)
        return DecodeJob(
            chunk.id,
            tokens,
            self._voices.of(chunk.voice),
            knobs_of(chunk.options, self._facts),
            Draws(chunk.seed, self._device),
            token_cap(chunk.text),
        )

    def _decode(self, events: list[Event]) -> list[Decoded]:
        joining: list[DecodeJob] = []
        try:
            room = self._decoder.room
            joining, self._pending = self._pending[:room], self._pending[room:]
            self._join(joining, events)
            return self._decoder.step()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, whose traceback would keep the tensors of the failed step alive.
        self._retreat(joining, events)
        return []

    def _join(self, joining: list[DecodeJob], events: list[Event]) -> None:
        try:
            self._decoder.add(joining)
        except Exception as error:
            if is_out_of_memory(error) or is_lost(error):
                raise
            for job in joining:
                self._join_alone(job, events)

    def _join_alone(self, job: DecodeJob, events: list[Event]) -> None:
        try:
            self._decoder.add([job])
        except Exception as error:
            if is_out_of_memory(error) or is_lost(error):
                raise
            self._fail(job.key, f"{type(error).__name__}: {error}", events, retryable=True)

    def _retreat(self, joining: list[DecodeJob], events: list[Event]) -> None:
        """Begin again with half the slots; with one slot, without the chunk that does not fit into it."""
        active = self._decoder.clear()
        keys = dict.fromkeys(job.key for job in (*active, *joining))
        again = [key for key in keys if key in self._hand]
        release_memory(self._device)
        self._good = 0
        if not self._shrink() and again:
            self._fail(again.pop(0), _OUT_OF_MEMORY.format(device=self._device), events, retryable=True)
        later, self._pending = self._pending, []
        for key in again:
            self._admit(self._hand[key], events)
        self._pending += later

    def _grow(self) -> None:
        """Try more slots again when nobody is being spoken, some time after memory was short: it may be free now."""
        if self._good < _TRY_AGAIN or self._decoder.active or self._decoder.slots >= self._settings.slots:
            return
        self._good = 0
        try:
            self._decoder.resize(min(2 * self._decoder.slots, self._settings.slots))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._shrink()

    def _shrink(self) -> bool:
        if self._settings.deterministic:
            return False  # other shapes would be other bytes
        while True:
            try:
                return self._decoder.shrink()
            except Exception as error:
                if not is_out_of_memory(error) or self._decoder.slots == 1:
                    raise
            release_memory(self._device)

    # -- tokens -> sound ------------------------------------------------------------------------
    def _receive(self, decoded: Decoded, events: list[Event]) -> None:
        job = decoded.job
        sounds = [token for token in decoded.tokens if token < VALID_TOKENS]
        if decoded.broken:
            self._fail(job.key, "the model's logits are not finite", events, retryable=True)
        elif not sounds:
            self._fail(job.key, "the model spoke no sound", events, retryable=True)
        else:
            if not decoded.ended:
                # The gateway counts what begins so as a flaw, and has the chunk spoken again.
                cut = f"missed_eos: cut at {len(decoded.tokens)} speech tokens, before the model found an end"
                self._notes[job.key] = (cut,)
            speech = Speech(job.key, torch.tensor(sounds, device=self._device), job.conds.gen, job.draws)
            self._spoken.append((speech, self._turns))

    def _sound(self, events: list[Event]) -> None:
        """Make sound of what has tokens, once it fills a batch, has waited long, or nobody else is coming."""
        while self._spoken:
            oldest = self._spoken[0][1]
            full = len(self._spoken) >= self._mel_rows
            if not full and self._decoder.active and self._turns - oldest < _PATIENCE:
                return
            batch = bucket([speech for speech, _ in self._spoken], self._mel_rows)
            taken = {speech.key for speech in batch}
            self._spoken = [(speech, turn) for speech, turn in self._spoken if speech.key not in taken]
            self._sound_batch(batch, events)
            if self._decoder.active:
                return  # one batch a turn: the others keep decoding

    def _sound_batch(self, batch: list[Speech], events: list[Event]) -> None:
        before = [speech.draws.state() for speech in batch]
        self._in_mels = [speech.key for speech in batch]
        failure = ""
        try:
            mels = decode_mels(self._model.s3gen, batch, self._settings.steps, self._allocate)
            for speech, mel in zip(batch, mels, strict=True):
                if speech.key in self._hand:
                    self._marking[speech.key] = self._watermarks.submit(vocode(self._model.s3gen, mel, speech.draws))
            return
        except Abandoned:
            return
        except Exception as error:  # found out below whose fault it is
            if is_lost(error):
                raise
            short = is_out_of_memory(error)
            failure = _OUT_OF_MEMORY.format(device=self._device) if short else f"{type(error).__name__}: {error}"
        finally:
            self._in_mels = []
        release_memory(self._device)
        if len(batch) == 1:
            self._fail(batch[0].key, failure, events, retryable=True)
            return
        for speech, state in zip(batch, before, strict=True):
            speech.draws.restore(state)
        half = len(batch) // 2
        for part in (batch[:half], batch[half:]):
            rest = [speech for speech in part if speech.key in self._hand and speech.key not in self._marking]
            if rest:
                self._sound_batch(rest, events)

    def _collect(self, events: list[Event]) -> None:
        if self._marking and not (self._decoder.active or self._pending or self._spoken):
            wait(self._marking.values(), timeout=_IDLE_S, return_when="FIRST_COMPLETED")
        for key in [key for key, future in self._marking.items() if future.done()]:
            future = self._marking.pop(key)
            notes = self._notes.pop(key, ())
            if (error := future.exception()) is not None:
                self._fail(key, f"watermark: {type(error).__name__}: {error}", events, retryable=True)
            elif self._hand.pop(key, None) is not None:
                self._good += 1
                events.append(Take(key, future.result(), self._model.sr, notes))


def _build_decoder(t3: Any, settings: ChatterboxSettings, dtype: torch.dtype, allocate: Allocate) -> T3Decoder:
    slots = settings.slots
    while True:
        try:
            return T3Decoder(t3, slots=slots, dtype=dtype, fixed=settings.deterministic, allocate=allocate)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if slots == 1 or settings.deterministic:
            raise BackendUnavailable(
                "the model leaves no memory to decode with", "free some on the device or lower slots"
            )
        slots //= 2


def _punctuation_of(model: Any) -> Any:
    """Upstream's own normalising of punctuation, from the module of the model's class."""
    import importlib

    return importlib.import_module(type(model).__module__).punc_norm

"""The batched token decoder: one forward pass per step for many chunks, each at its own position.

A chunk with guidance has two rows (conditional, unconditional), a chunk without has one. The rows in use are always the
first rows of the cache, so a step reads them without gathering: when a chunk ends, the last rows move into its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from backends.chatterbox.cache import Allocate, allocate_zeros, in_blocks
from backends.chatterbox.conditionals import VoiceConds
from backends.chatterbox.device import to_device
from backends.chatterbox.draws import Draws
from backends.chatterbox.knobs import Knobs
from backends.chatterbox.llama import Llama
from backends.chatterbox.prompts import Prompts
from backends.chatterbox.sampling import Sampler

MAX_TEXT = 512
"""Most text tokens of one chunk; 300 characters have at most 300, and a few more if punctuation is spelled out."""


PREALLOCATED = 640
"""Positions of each row allocated in advance on a GPU: voice, a long text, 18 s of speech. A CPU grows on demand."""


class TooLong(ValueError):
    """The text has more than MAX_TEXT tokens."""


class ChunkDecoding:
    """One chunk to decode into speech tokens.

    Args:
        key: id of the chunk.
        text: (n,) int64 text tokens with start and end.
        draws: its random numbers; used up by decoding.
        max_tokens: number of speech tokens at which it is cut.
    """

    def __init__(
        self, key: int, text: torch.Tensor, conds: VoiceConds, knobs: Knobs, draws: Draws, max_tokens: int
    ) -> None:
        if text.numel() > MAX_TEXT:
            raise TooLong(f"the text has {text.numel()} tokens; {MAX_TEXT} are the most")
        self.key = key
        self.text = text
        self.conds = conds
        self.knobs = knobs
        self.draws = draws
        self.max_tokens = max_tokens

    def again(self) -> ChunkDecoding:
        """Return the same decoding with its random numbers at the beginning."""
        return ChunkDecoding(self.key, self.text, self.conds, self.knobs, self.draws.again(), self.max_tokens)


class Decoded:
    """The result of one decoding.

    Attributes:
        tokens: speech tokens without the end token.
        ended: the end token came; False if the decoding was cut.
        broken: the logits were not finite; `tokens` are those before.
    """

    def __init__(self, job: ChunkDecoding, tokens: list[int], ended: bool, broken: bool = False) -> None:
        self.job = job
        self.tokens = tokens
        self.ended = ended
        self.broken = broken


class _Slot:
    """A chunk being decoded: its rows in the cache, the positions of its prompt, its tokens so far."""

    def __init__(self, job: ChunkDecoding) -> None:
        self.job = job
        self.rows: list[int] = []
        self.prompt = 0
        self.fed = 0  # number of its tokens that were fed back
        self.tokens: list[int] = []

    @property
    def written(self) -> int:
        """Number of written positions of its rows."""
        return self.prompt + self.fed


class T3Decoder:
    """Decodes up to `slots` chunks at a time. Call under `torch.inference_mode()`, from one thread.

    Args:
        t3: upstream's T3 with Llama; later only its embeddings and its conditioning encoder are used.
        fixed: every step has the same shapes and every prompt is read alone, so other chunks cannot change a bit.
        max_tokens: most speech tokens of a chunk.
        beat: called before each layer; an exception undoes `add`, and after `step` only `finished` and `clear` may be
            called.
    """

    def __init__(
        self,
        t3: Any,
        *,
        slots: int,
        dtype: torch.dtype = torch.float32,
        fixed: bool = False,
        max_tokens: int = 1000,
        allocate: Allocate = allocate_zeros,
        beat: Callable[[], object] = lambda: None,
    ) -> None:
        self._t3, self._hp = t3, t3.hp
        self._fixed, self._allocate, self._max_tokens = fixed, allocate, max_tokens
        self._llama = Llama(t3.tfmr, dtype, beat)
        self.device = self._llama.device
        self._head = t3.speech_head.weight.detach().float()  # logits are always fp32
        self._prompts = Prompts(t3, self._llama, not fixed, allocate)
        # 34 voice positions, the text, two BOS, the speech.
        self._longest = in_blocks(64 + MAX_TEXT + max_tokens)
        self.slots = slots
        self._active: list[_Slot] = []
        self._owners: list[_Slot] = []  # the slot of each row in use
        self._over: list[Decoded] = []  # ended and not returned yet
        self._reserve(slots)

    # -- public ---------------------------------------------------------------------------------
    @property
    def active(self) -> int:
        """Number of chunks being decoded."""
        return len(self._active)

    @property
    def keys(self) -> set[int]:
        """Keys of the chunks being decoded."""
        return {slot.job.key for slot in self._active}

    @property
    def room(self) -> int:
        """Number of chunks that can be added."""
        return self.slots - len(self._active)

    @property
    def rows(self) -> int:
        """Number of cache rows in use: two for a chunk with guidance, one for a chunk without."""
        return len(self._owners)

    def hidden(self, key: int) -> torch.Tensor:
        """Return the (1 or 2, hidden) last hidden states of a chunk, from which its next token is drawn."""
        slot = next(slot for slot in self._active if slot.job.key == key)
        return self._hidden[slot.rows]

    @property
    def prompts_kept(self) -> int:
        """Number of cached prompts: voices, each with an exaggeration."""
        return len(self._prompts)

    @property
    def parameters(self) -> int:
        """Number of parameters read in each step."""
        return self._llama.size + int(self._head.numel())

    def batches(self, jobs: Sequence[ChunkDecoding]) -> list[list[ChunkDecoding]]:
        """Group decodings whose prompts are read together."""
        if self._fixed:
            return [[job] for job in jobs]
        return [list(jobs)] if jobs else []

    def add(self, jobs: Sequence[ChunkDecoding]) -> None:
        """Add at most `room` decodings and read their prompts. If it raises, none of them is added."""
        assert len(jobs) <= self.room
        before = len(self._active)
        try:
            for batch in self.batches(jobs):
                self._prefill(batch)
        except BaseException:
            for slot in self._active[before:]:
                self._release(slot)
            raise
        if jobs:
            self._arrange()

    def drop(self, keys: Collection[int]) -> None:
        """Remove chunks; their slots are free at once."""
        leaving = [slot for slot in self._active if slot.job.key in keys]
        for slot in leaving:
            self._release(slot)
        if leaving:
            self._arrange()

    def step(self) -> list[Decoded]:
        """Decode one more token of every chunk; remove and return those that ended.

        If it raises, those that ended are in `finished`; the others can only be cleared.
        """
        if not self._active:
            return self.finished()
        logits = F.linear(self._hidden[: self._rows_read].float(), self._head)
        spoken = self._spoken[: len(self._active), : 1 + max(slot.fed for slot in self._active)]
        chosen = self._sampler.choose(logits[self._conditional], logits[self._unconditional], spoken)
        numbers: list[int] = chosen.tolist()  # the only wait for the device in a step
        over: list[tuple[_Slot, Decoded]] = []
        for slot, token in zip(self._active, numbers, strict=True):
            if token >= 0:
                slot.tokens.append(token)
            ended = token == self._hp.stop_speech_token
            if ended or token < 0 or len(slot.tokens) >= min(slot.job.max_tokens, self._max_tokens):
                tokens = slot.tokens[:-1] if ended else slot.tokens
                over.append((slot, Decoded(slot.job, tokens, ended, token < 0)))
        self._over += [decoded for _, decoded in over]  # kept here in case the code below raises
        if over:
            for slot, decoded in over:
                self._release(slot, wipe=decoded.broken)
            if self._active:
                self._arrange()
                (chosen,) = self._on_device([slot.tokens[-1] for slot in self._active])
        if self._active:
            self._read(chosen)
        return self.finished()

    def finished(self) -> list[Decoded]:
        """Remove and return the results that no `step` returned, because it raised."""
        over, self._over = self._over, []
        return over

    def clear(self) -> list[ChunkDecoding]:
        """Remove and return all decodings; their random numbers are used up."""
        jobs = [slot.job for slot in self._active]
        self._active = []
        self._owners = []
        self._over = []
        return jobs

    def shrink(self) -> bool:
        """Halve the slots and make a new, smaller cache; False if there is only one slot. Must be empty."""
        if self.slots == 1:
            return False
        self.resize(max(1, self.slots // 2))
        return True

    def resize(self, slots: int) -> None:
        """Change the number of slots and make a new cache. Must be empty."""
        assert not self._active
        self._prompts.clear()
        if hasattr(self, "_cache"):  # there is none if the last try ran out of memory
            del self._cache  # before the new one is made: memory may not hold both
        self._reserve(slots)

    # -- rows -----------------------------------------------------------------------------------
    def _reserve(self, slots: int) -> None:
        rows = 2 * slots
        self.slots = slots
        self._owners = []
        self._cache = self._llama.new_cache(rows, self._allocate)
        if self._fixed:
            self._cache.reserve(self._longest)
        elif self.device.type == "cuda":
            self._cache.reserve(PREALLOCATED)
        self._hidden = torch.zeros(rows, self._head.shape[1], dtype=self._llama.dtype, device=self.device)
        # The tokens of each chunk, with BOS before them and in every later place.
        self._spoken = torch.full((slots, 1 + self._max_tokens), self._hp.start_speech_token, device=self.device)

    def _release(self, slot: _Slot, wipe: bool = False) -> None:
        for row in sorted(slot.rows, reverse=True):
            if wipe:
                self._cache.clear(row)
            last = len(self._owners) - 1
            if row != last:
                owner = self._owners[last]
                self._cache.move(last, row)
                self._hidden[row] = self._hidden[last]
                owner.rows[owner.rows.index(last)] = row
                self._owners[row] = owner
            self._owners.pop()
            if wipe:
                self._cache.clear(last)
        at = self._active.index(slot)
        self._spoken[at] = self._spoken[len(self._active) - 1]
        self._active[at] = self._active[-1]
        self._active.pop()

    def _arrange(self) -> None:
        """Copy the rows and positions of all chunks to the device; called only when a chunk was added or removed."""
        if not self._active:
            return
        active = self._active
        # A fixed shape computes unused rows too: they read the first chunk's token at position 0 and are ignored.
        self._rows_read = 2 * self.slots if self._fixed else len(self._owners)
        index = {id(slot): number for number, slot in enumerate(active)}
        owners = [index[id(owner)] for owner in self._owners]
        written = [owner.written for owner in self._owners]
        unused = self._rows_read - len(owners)
        self._row_slot, at, in_use, self._conditional, self._unconditional, self._next_step = self._on_device(
            owners + [0] * unused,
            written + [0] * unused,
            [1] * len(owners) + [0] * unused,
            [slot.rows[0] for slot in active],
            [slot.rows[-1] for slot in active],
            [slot.fed + 1 for slot in active],  # BOS was 0
        )
        self._at, self._in_use = at[:, None], in_use[:, None]
        self._slot_numbers = torch.arange(len(active), device=self.device)
        self._sampler = Sampler([s.job.knobs for s in active], [s.job.draws for s in active], self.device)

    def _on_device(self, *numbers: list[int]) -> tuple[torch.Tensor, ...]:
        """Copy several lists to the device in one copy, without waiting for it."""
        flat = torch.tensor([number for some in numbers for number in some], dtype=torch.int64)
        return tuple(to_device(flat, self.device).split_with_sizes([len(some) for some in numbers]))

    # -- forward passes -------------------------------------------------------------------------
    def _read(self, tokens: torch.Tensor) -> None:
        """Feed the chosen tokens back and compute the next hidden states."""
        self._spoken[self._slot_numbers, self._next_step] = tokens
        positions = self._t3.speech_pos_emb.emb.weight
        x = (self._t3.speech_emb.weight[tokens] + positions[self._next_step]).to(self._llama.dtype)
        span = self._span(max(slot.written for slot in self._active) + 1)
        hidden = self._llama.forward(x[self._row_slot][:, None], self._at, self._cache, 0, span)
        self._hidden[: self._rows_read] = hidden[:, 0]
        for slot in self._active:
            slot.fed += 1
        self._at = self._at + self._in_use
        self._next_step = self._next_step + 1

    def _span(self, positions: int) -> int:
        span = self._longest if self._fixed else in_blocks(positions)
        self._cache.reserve(span)
        return span

    def _prefill(self, jobs: list[ChunkDecoding]) -> None:
        slots = [_Slot(job) for job in jobs]
        guided = [slot for slot in slots if slot.job.knobs.cfg_weight > 0]
        first = len(self._owners)
        conditional = [self._text(job) for job in jobs]
        bos = self._bos()
        if self._fixed:
            job = jobs[0]
            voice = self._prompts.of(job.conds, job.knobs.exaggeration, job.text.numel()).voice
            whole = [torch.cat([voice, conditional[0], bos])]
            if guided:
                whole.append(torch.cat([voice, self._bare(job), bos]))
            self._begin(first, [0] * len(whole), whole)
            slots[0].prompt = whole[0].shape[0]
        else:
            starts = []
            for row, slot in enumerate(slots, first):
                prompt = self._prompt(slot.job)
                self._span(len(prompt) + slot.job.text.numel() + bos.shape[0])
                starts.append(prompt.copy_to(self._cache, row, 0))
                slot.prompt = starts[-1] + slot.job.text.numel() + bos.shape[0]
            self._begin(first, starts, [torch.cat([text, bos]) for text in conditional])
            starts = [
                self._prompt(slot.job).copy_to(self._cache, row, slot.job.text.numel())
                for row, slot in enumerate(guided, first + len(slots))
            ]
            if guided:
                self._begin(first + len(slots), starts, [bos] * len(guided))
        # The state changes only here, so an error above leaves the decoder unchanged.
        for slot in [*slots, *guided]:
            slot.rows.append(len(self._owners))
            self._owners.append(slot)
        for slot in slots:
            self._spoken[len(self._active)] = self._hp.start_speech_token
            self._active.append(slot)

    def _begin(self, first: int, starts: list[int], parts: list[torch.Tensor]) -> None:
        """Read the rest of some prompts, padded on the right; later tokens overwrite the padding in the cache."""
        new = max(part.shape[0] for part in parts)
        begin, ends = self._on_device(starts, [part.shape[0] - 1 for part in parts])
        x = torch.zeros(len(parts), new, self._hidden.shape[1], dtype=self._llama.dtype, device=self.device)
        for row, part in enumerate(parts):
            x[row, : part.shape[0]] = part
        at = begin[:, None] + torch.arange(new, device=self.device)
        hidden = self._llama.forward(x, at, self._cache, first, self._span(max(starts) + new))
        self._hidden[first : first + len(parts)] = hidden[torch.arange(len(parts), device=self.device), ends]

    def _prompt(self, job: ChunkDecoding) -> Any:
        return self._prompts.of(job.conds, job.knobs.exaggeration, job.text.numel())

    def _text(self, job: ChunkDecoding) -> torch.Tensor:
        text = to_device(job.text, self.device)
        embedded: torch.Tensor = self._t3.text_emb(text) + self._t3.text_pos_emb.emb.weight[: text.numel()]
        return embedded.to(self._llama.dtype)

    def _bare(self, job: ChunkDecoding) -> torch.Tensor:
        positions: torch.Tensor = self._t3.text_pos_emb.emb.weight[: job.text.numel()]
        return positions.to(self._llama.dtype)

    def _bos(self) -> torch.Tensor:
        """Return the two BOS embeddings upstream begins with, both at speech position 0."""
        one = self._t3.speech_emb.weight[self._hp.start_speech_token] + self._t3.speech_pos_emb.emb.weight[0]
        return one.to(self._llama.dtype).expand(2, -1)

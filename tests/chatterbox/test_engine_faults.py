"""What goes wrong with one chunk stays with that chunk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.chatterbox_feed import ListFeed, chunk, spoken

from backends.chatterbox import ChatterboxSettings, pulse
from backends.chatterbox.cache import allocate_zeros
from backends.chatterbox.device import is_out_of_memory
from backends.chatterbox.engine import FastEngine
from backends.chatterbox.models import MODELS
from backends.chatterbox.reference import ReferenceEngine
from backends.interface import Voice
from benchmarks.decoding import TEXTS

ENGLISH = MODELS["english"]
ALL = range(8)


@pytest.fixture(scope="module")
def alone(upstream: Any) -> Any:
    """Each text spoken with nobody else there."""
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=1))
    takes, _ = spoken(engine.synthesize(ListFeed([chunk(n, TEXTS[n]) for n in ALL])))
    engine.close()
    return {n: take.pcm for n, take in takes.items()}


def run(engine: Any, feed: ListFeed) -> Any:
    try:
        return spoken(engine.synthesize(feed))
    finally:
        engine.close()


def assert_spoken(takes: Any, alone: Any, numbers: Any) -> None:
    assert sorted(takes) == sorted(numbers)
    for n in numbers:
        np.testing.assert_array_equal(takes[n].pcm, alone[n])


class Choking:
    """Upstream's tokenizer, which chokes on one text."""

    def __init__(self, tokenizer: Any, poison: str, tokens: Any = None) -> None:
        self._tokenizer, self._poison, self._tokens = tokenizer, poison, tokens

    def text_to_tokens(self, text: str) -> Any:
        if text == self._poison:
            if self._tokens is None:
                raise RuntimeError("poison")
            return self._tokens
        return self._tokenizer.text_to_tokens(text)


@pytest.mark.parametrize("tokens", [None, torch.tensor([[5, 99_999]])], ids=["in the tokenizer", "of unknown tokens"])
def test_a_poisoned_text_among_eight_fails_alone(upstream: Any, alone: Any, tokens: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(upstream, "tokenizer", Choking(upstream.tokenizer, TEXTS[3], tokens))
    takes, failures = run(
        FastEngine(upstream, ENGLISH, ChatterboxSettings()), ListFeed([chunk(n, TEXTS[n]) for n in ALL])
    )
    assert list(failures) == [3]
    assert failures[3].retryable == (tokens is None)
    assert_spoken(takes, alone, [n for n in ALL if n != 3])


@pytest.mark.skipif(not hasattr(torch, "AcceleratorError"), reason="this PyTorch has no such error")
@pytest.mark.parametrize("where", ["add", "step", "vocode"])
def test_a_device_in_error_ends_the_engine_instead_of_failing_chunk_after_chunk(
    upstream: Any, where: str, monkeypatch: Any
) -> None:
    from backends.chatterbox import engine as module

    def lost(*_: Any, **__: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=2))
    monkeypatch.setattr(*((module, "vocode") if where == "vocode" else (engine._decoder, where)), lost)
    with pytest.raises(torch.AcceleratorError):  # the worker ends with it, and the host starts another
        run(engine, ListFeed([chunk(n, TEXTS[n]) for n in range(4)]))


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_every_allocators_words_for_no_memory_are_known(error: Exception, short: bool) -> None:
    assert is_out_of_memory(error) is short


def test_a_voice_without_a_readable_recording_fails_its_chunk_alone(upstream: Any, alone: Any, tmp_path: Any) -> None:
    (tmp_path / "noise.wav").write_bytes(b"not a recording")
    voice = Voice("broken", ("en",), "broken", material=str(tmp_path / "noise.wav"))
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings())
    takes, failures = run(engine, ListFeed([chunk(0, TEXTS[0]), chunk(1, TEXTS[1], voice=voice)]))
    assert failures[1].kind == "invalid_input"
    assert_spoken(takes, alone, [0])


def test_a_cancelled_chunk_frees_its_slot_within_two_steps(upstream: Any, alone: Any) -> None:
    feed = ListFeed([chunk(n, TEXTS[n]) for n in ALL])
    asked: dict[str, int] = {}

    def on_ask(ask: int) -> None:
        if ask == 8:  # all are in the middle: their end comes at step 24
            feed.unwanted.add(2)
        if 2 in feed.told and "free" not in asked and engine.decoding < 8:
            asked["free"] = ask

    feed._on_ask = on_ask
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=8))
    ticking = feed.cancelled

    def cancelled(chunk_id: int) -> bool:
        # A full engine has no reason to ask for more, so the test looks whenever it asks about a cancel.
        if chunk_id == 0:
            feed.asks += 1
            on_ask(feed.asks)
        return ticking(chunk_id)

    feed.cancelled = cancelled  # type: ignore[method-assign]
    takes, failures = run(engine, feed)
    assert not failures
    assert asked["free"] - 8 <= 2
    assert_spoken(takes, alone, [n for n in ALL if n != 2])


def test_logits_that_are_not_finite_fail_their_row_alone(upstream: Any, alone: Any, monkeypatch: Any) -> None:
    # Two chunks at a time and more to come, so that others get the rows the NaN was in.
    weight = upstream.t3.text_emb.weight
    rare = upstream.tokenizer.text_to_tokens("Q")[0, 0]
    assert not any(rare in upstream.tokenizer.text_to_tokens(text) for text in TEXTS)
    before = weight[rare].clone()
    try:
        with torch.no_grad():
            weight[rare] = torch.nan
        chunks = [chunk(0, TEXTS[0]), chunk(9, "Q."), *(chunk(n, TEXTS[n]) for n in (1, 2, 3, 4))]
        takes, failures = run(FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=2)), ListFeed(chunks))
    finally:
        with torch.no_grad():
            weight[rare] = before
    assert list(failures) == [9]
    assert "not finite" in failures[9].error and failures[9].retryable
    assert_spoken(takes, alone, range(5))


CACHE, MEL = 4, 3
"""Dimensions of a layer of the cache and of a mel batch."""


class Scarce:
    """An allocator with room for so many numbers in one buffer of a kind."""

    def __init__(self, kind: int, limit: int = 10**9) -> None:
        self.kind = kind
        self.limit = limit
        self.refused = 0

    def __call__(self, shape: Any, dtype: Any, device: Any) -> Any:
        if len(shape) == self.kind and int(np.prod(shape)) > self.limit:
            self.refused += 1
            raise torch.OutOfMemoryError("scarce")
        return allocate_zeros(shape, dtype, device)


def test_short_of_memory_for_all_the_engine_goes_on_with_fewer_slots(upstream: Any, alone: Any) -> None:
    scarce = Scarce(CACHE)
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=8), allocate=scarce)
    # 16 rows of 4 heads of 16 fit at 64 positions, not at 128: found out in the middle of decoding.
    scarce.limit = 16 * 4 * 16 * 127
    takes, failures = run(engine, ListFeed([chunk(n, TEXTS[n]) for n in ALL]))
    assert not failures
    assert scarce.refused and engine.slots < 8
    assert_spoken(takes, alone, ALL)


def test_a_chunk_that_does_not_fit_even_alone_fails_and_the_others_do_not(upstream: Any, alone: Any) -> None:
    scarce = Scarce(CACHE)
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=4), allocate=scarce)
    scarce.limit = 2 * 4 * 16 * 128  # one chunk, up to 128 positions
    numbers = [n for n in ALL if len(TEXTS[n]) < 60]
    long = chunk(9, "This one is far too long for what is left. " * 4)
    takes, failures = run(
        engine, ListFeed([chunk(numbers[0], TEXTS[numbers[0]]), long, *(chunk(n, TEXTS[n]) for n in numbers[1:])])
    )
    assert list(failures) == [9]
    assert failures[9].retryable and "out of memory" in failures[9].error
    assert engine.slots == 1
    assert_spoken(takes, alone, numbers)


def test_a_mel_batch_that_does_not_fit_is_split(upstream: Any, alone: Any) -> None:
    scarce = Scarce(MEL)
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=4), mel_rows=4, allocate=scarce)
    frames = 2 * (250 + 64)
    scarce.limit = 2 * 80 * frames  # two rows, not four
    takes, failures = run(engine, ListFeed([chunk(n, TEXTS[n]) for n in range(4)]))
    assert not failures and scarce.refused
    for n in range(4):
        assert np.abs(takes[n].pcm - alone[n]).max() < 1e-5


def test_slots_come_back_when_memory_does(upstream: Any, alone: Any, monkeypatch: Any) -> None:
    from backends.chatterbox import engine as module

    monkeypatch.setattr(module, "_TRY_AGAIN", 2)
    scarce = Scarce(CACHE)
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=4), allocate=scarce)
    scarce.limit = 2 * 4 * 16 * 192  # one chunk at a time
    takes, failures = spoken(engine.synthesize(ListFeed([chunk(n, TEXTS[n]) for n in range(3)])))
    assert engine.slots < 4 and not failures
    scarce.limit = 10**9
    for first in (3, 6):
        more, failures = spoken(engine.synthesize(ListFeed([chunk(n, TEXTS[n]) for n in ALL[first : first + 3]])))
        assert not failures
        takes |= more
    spoken(engine.synthesize(ListFeed([chunk(0, TEXTS[0])])))
    engine.close()
    assert engine.slots == 4
    assert_spoken(takes, alone, ALL)


def test_slots_that_do_not_come_back_yet_are_done_without(upstream: Any, alone: Any, monkeypatch: Any) -> None:
    from backends.chatterbox import engine as module

    monkeypatch.setattr(module, "_TRY_AGAIN", 1)
    refused = 0

    def allocate(shape: Any, *rest: Any) -> Any:
        nonlocal refused
        if len(shape) == CACHE and shape[0] > 4:  # two chunks, two rows each
            refused += 1
            raise torch.OutOfMemoryError("scarce")
        return allocate_zeros(shape, *rest)

    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=8), allocate=allocate)
    before = refused
    for n in (1, 4):
        takes, failures = spoken(engine.synthesize(ListFeed([chunk(n, TEXTS[n])])))
        assert not failures
        assert_spoken(takes, alone, [n])
    engine.close()
    assert refused > before and engine.slots == 2


def test_a_deterministic_engine_keeps_its_shapes_and_fails_the_chunk_instead(upstream: Any) -> None:
    scarce = Scarce(CACHE)
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=2, deterministic=True), allocate=scarce)
    adding, engine._decoder.add = engine._decoder.add, scarce_once(engine._decoder.add)  # type: ignore[method-assign]
    takes, failures = run(engine, ListFeed([chunk(n, TEXTS[n]) for n in range(3)]))
    assert adding and engine.slots == 2
    assert list(failures) == [0] and failures[0].retryable
    assert sorted(takes) == [1, 2]


def scarce_once(function: Any) -> Any:
    """The function, whose first call finds no memory."""
    calls = iter([True])

    def scarcely(*args: Any) -> Any:
        if next(calls, False):
            raise torch.OutOfMemoryError("scarce")
        return function(*args)

    return scarcely


def test_slots_are_as_many_as_fit_at_the_start(upstream: Any) -> None:
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=8), allocate=Scarce(CACHE, 4 * 4 * 16 * 64))
    engine.close()
    assert engine.slots == 2


def test_the_reference_engine_leaves_a_cancelled_chunk_in_the_middle(upstream: Any) -> None:
    conds = upstream.conds
    feed = ListFeed([chunk(0, TEXTS[0]), chunk(1, TEXTS[1])])
    heard = 0
    plain = feed.cancelled

    def cancelled(chunk_id: int) -> bool:
        nonlocal heard
        heard += chunk_id == 0
        if heard == 3:  # the first time is before it begins
            feed.unwanted.add(0)
        return plain(chunk_id)

    feed.cancelled = cancelled  # type: ignore[method-assign]
    takes, failures = run(ReferenceEngine(upstream, ENGLISH, ChatterboxSettings(engine="reference")), feed)
    upstream.conds = conds
    assert list(takes) == [1] and not failures


def test_an_end_that_is_not_found_is_cut_and_said(upstream: Any, monkeypatch: Any) -> None:
    from backends.chatterbox import engine as module

    monkeypatch.setattr(module, "token_cap", lambda text: 10)
    takes, failures = run(FastEngine(upstream, ENGLISH, ChatterboxSettings()), ListFeed([chunk(0, TEXTS[0])]))
    assert not failures
    (warning,) = takes[0].warnings
    assert warning == "missed_eos: cut at 10 speech tokens, before the model found an end"


def test_a_chunk_cancelled_while_it_is_made_audible_is_left_there(upstream: Any, alone: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(pulse, "INTERVAL_S", 0.0)
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings())
    feed = ListFeed([chunk(0, TEXTS[0]), chunk(1, TEXTS[1])], arrivals=[0, 40])
    plain, decoded = feed.cancelled, False

    def cancelled(chunk_id: int) -> bool:
        nonlocal decoded
        if chunk_id == 0 and decoded and engine.decoding == 0:
            feed.unwanted.add(0)
        decoded = decoded or engine.decoding > 0
        return plain(chunk_id)

    feed.cancelled = cancelled  # type: ignore[method-assign]
    takes, failures = run(engine, feed)
    assert feed.told and not failures
    assert_spoken(takes, alone, [1])

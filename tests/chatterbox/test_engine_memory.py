"""Short of memory, the engine speaks fewer chunks at a time; a chunk that does not fit even alone fails alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.chatterbox_feed import ListFeed, assert_spoken, chunk, run, spoken
from support.voices import recorded

from backends.chatterbox import ChatterboxSettings
from backends.chatterbox.cache import allocate_zeros
from backends.chatterbox.device import is_out_of_memory
from backends.chatterbox.engine import FastEngine
from backends.chatterbox.models import MODELS
from backends.interface import Voice
from benchmarks.checkpoints import write_recording
from benchmarks.decoding import TEXTS

ENGLISH = MODELS["english"]
ALL = range(8)


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.07 GB)"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_every_allocators_words_for_no_memory_are_known(error: Exception, short: bool) -> None:
    assert is_out_of_memory(error) is short


CACHE, MEL = 4, 3
"""Dimensions of a layer of the cache and of a mel batch."""


class Scarce:
    """An allocator that refuses a buffer of a kind with more numbers than its limit."""

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
    # 16 rows of 4 heads of 16 fit at 64 positions, not at 128: memory runs out in the middle of decoding.
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
    assert failures[9].retryable and failures[9].kind == "out_of_memory"
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

    monkeypatch.setattr(module, "_GROW_AFTER", 2)
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

    monkeypatch.setattr(module, "_GROW_AFTER", 1)
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


def test_a_deterministic_engine_keeps_its_shapes_and_fails_the_chunk_instead(upstream: Any, alone: Any) -> None:
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=2, deterministic=True))
    adding, tried = engine._decoder.add, []

    def add(jobs: Any) -> None:
        tried.extend(job.key for job in jobs)
        if jobs[-1].key == 1:
            raise torch.OutOfMemoryError("scarce")
        adding(jobs)

    engine._decoder.add = add  # type: ignore[method-assign]
    takes, failures = run(engine, ListFeed([chunk(n, TEXTS[n]) for n in range(3)]))
    assert engine.slots == 2
    assert list(failures) == [1] and failures[1].retryable and failures[1].kind == "out_of_memory"
    assert tried == [0, 1, 2], "nobody else began again"
    assert_spoken(takes, alone, [0, 2])


def test_slots_are_as_many_as_fit_at_the_start(upstream: Any) -> None:
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=8), allocate=Scarce(CACHE, 4 * 4 * 16 * 64))
    engine.close()
    assert engine.slots == 2


def test_a_chunk_that_ends_in_the_step_that_finds_no_memory_is_spoken(
    upstream: Any, alone: Any, monkeypatch: Any
) -> None:
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=4))
    decoder, reading = engine._decoder, engine._decoder._read
    most = refused = 0

    def read(tokens: Any) -> None:
        nonlocal most, refused
        most = max(most, decoder.active)
        if decoder.active < most and not refused:  # a chunk ended in this step
            refused += 1
            raise torch.OutOfMemoryError("scarce")
        reading(tokens)

    def stuck(ask: int) -> None:
        assert ask < 1000, "it goes on asking while nothing is done"

    monkeypatch.setattr(decoder, "_read", read)
    feed = ListFeed([chunk(n, TEXTS[n]) for n in range(3)], arrivals=[1, 3, 8], on_ask=stuck)
    takes, failures = run(engine, feed)
    assert refused and not failures and engine.slots == 2
    assert_spoken(takes, alone, range(3))


def test_short_of_memory_for_a_mel_slots_are_given_back_and_it_is_made(upstream: Any, alone: Any) -> None:
    engine: Any = None
    refused = 0

    def allocate(shape: Any, *rest: Any) -> Any:
        nonlocal refused
        if len(shape) == MEL and engine.slots > 2:
            refused += 1
            raise torch.OutOfMemoryError("scarce")
        return allocate_zeros(shape, *rest)

    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=8), allocate=allocate)
    feed = ListFeed([chunk(n, TEXTS[n]) for n in range(5)], arrivals=[0, 0, 0, 9, 12])
    takes, failures = run(engine, feed)
    assert not failures
    assert refused == 2 and engine.slots == 2
    assert_spoken(takes, alone, range(5))


@pytest.mark.parametrize(
    "settings", [{"slots": 1}, {"slots": 3, "deterministic": True}], ids=["alone", "deterministic"]
)
def test_a_mel_for_which_no_slots_can_be_given_fails_alone(upstream: Any, alone: Any, settings: Any) -> None:
    refused = 0

    def allocate(shape: Any, *rest: Any) -> Any:
        nonlocal refused
        if len(shape) == MEL and not refused:
            refused += 1
            raise torch.OutOfMemoryError("scarce")
        return allocate_zeros(shape, *rest)

    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(**settings), allocate=allocate)
    takes, failures = run(engine, ListFeed([chunk(n, TEXTS[n]) for n in range(4)]))
    (failed,) = failures.values()
    assert failed.chunk_id == 0 and failed.retryable and failed.kind == "out_of_memory"
    assert engine.slots == settings["slots"]
    assert_spoken(takes, alone, [1, 2, 3])


def test_short_of_memory_for_a_voice_slots_are_given_back_and_it_is_prepared(
    upstream: Any, alone: Any, monkeypatch: Any, tmp_path: Any
) -> None:
    write_recording(tmp_path / "voice.wav", seconds=4.0)
    voice = Voice("own", ("en",), "own-1", material=recorded(tmp_path / "voice.wav"))
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=4))
    preparing = upstream.prepare_conditionals

    def prepare(*args: Any) -> None:
        if engine.slots > 1:
            raise torch.OutOfMemoryError("scarce")
        preparing(*args)

    monkeypatch.setattr(upstream, "prepare_conditionals", prepare)
    chunks = [chunk(0, TEXTS[0]), chunk(1, TEXTS[1]), chunk(9, TEXTS[2], voice=voice)]
    takes, failures = run(engine, ListFeed(chunks, arrivals=[0, 0, 6]))
    assert not failures and engine.slots == 1
    assert takes.pop(9).pcm.size
    assert_spoken(takes, alone, [0, 1])


def test_where_memory_is_short_in_a_step_of_a_deterministic_engine_the_last_that_came_fails(
    upstream: Any, alone: Any, monkeypatch: Any
) -> None:
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=3, deterministic=True))
    reading = engine._decoder._read

    def read(tokens: Any) -> None:
        if engine.decoding == 3:
            raise torch.OutOfMemoryError("scarce")
        reading(tokens)

    monkeypatch.setattr(engine._decoder, "_read", read)
    takes, failures = run(engine, ListFeed([chunk(n, TEXTS[n]) for n in range(3)], arrivals=[1, 2, 4]))
    assert list(failures) == [2] and failures[2].kind == "out_of_memory"
    assert engine.slots == 3
    assert_spoken(takes, alone, [0, 1])

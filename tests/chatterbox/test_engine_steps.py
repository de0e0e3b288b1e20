"""A step of the fast engine waits for the GPU only once."""

from __future__ import annotations

import threading
from typing import Any

import torch
from support.chatterbox_feed import ListFeed, assert_spoken, chunk, run
from torch.utils._python_dispatch import TorchDispatchMode

from backends.chatterbox import ChatterboxSettings
from backends.chatterbox.engine import FastEngine
from backends.chatterbox.models import MODELS
from benchmarks.decoding import TEXTS

ENGLISH = MODELS["english"]
GUARD_S = 120.0


class Waits(TorchDispatchMode):
    """Counts operations that make the host wait for a GPU: reads of numbers, and shapes that depend on numbers."""

    OPERATORS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__.rstrip("2")
        by_mask = name in ("index", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        self.count += by_mask or name in self.OPERATORS
        return func(*args, **(kwargs or {}))


def test_a_step_waits_for_the_device_once(upstream: Any, monkeypatch: Any) -> None:
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=4))
    decoder, waits = engine._decoder, Waits()
    reads = []
    for name in ("tolist", "cpu", "numpy"):  # on a CPU no operator is called for these
        true = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, *args, true=true: reads.append(1) or true(self, *args))
    counts = []
    with torch.no_grad():  # under inference_mode, operators have more names
        decoder.add([engine._job(chunk(n, TEXTS[n], cfg_weight=0.5 * (n != 1))) for n in range(3)])
        steps = 0
        while decoder.active:
            if steps == 5:
                decoder.add([engine._job(chunk(3, TEXTS[3]))])
            reads.clear()
            waits.count = 0
            with waits:
                decoder.step()
            counts.append(len(reads) + waits.count)
            steps += 1
    engine.close()
    assert len(counts) > 24 and set(counts) == {1}, "steps in which somebody left are among them"


def test_tokens_are_decoded_while_a_watermark_is_made(upstream: Any, alone: Any, monkeypatch: Any) -> None:
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=1))
    begun, went_on, waited = threading.Event(), threading.Event(), []
    stepping, marking = engine._decoder.step, upstream.watermarker.apply_watermark

    def step() -> Any:
        decoded = stepping()
        if begun.is_set() and engine.decoding:
            went_on.set()
        return decoded

    def mark(*args: Any, **rest: Any) -> Any:
        begun.set()
        waited.append(went_on.wait(GUARD_S))
        return marking(*args, **rest)

    monkeypatch.setattr(engine._decoder, "step", step)
    monkeypatch.setattr(upstream.watermarker, "apply_watermark", mark)
    takes, failures = run(engine, ListFeed([chunk(n, TEXTS[n]) for n in range(2)]))
    assert waited == [True, True] and not failures
    assert_spoken(takes, alone, [0, 1])

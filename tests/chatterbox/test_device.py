"""Tests of GPU devices that need no GPU."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from support.chatterbox_feed import ListFeed, chunk, spoken

from backends.chatterbox import ChatterboxSettings, backend, device, loading
from backends.chatterbox.switch import Switch
from backends.interface import BackendContext, BackendUnavailable
from benchmarks.decoding import TEXTS

SECOND = torch.device("cuda:1")


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (RuntimeError("cuFFT error: CUFFT_EXEC_FAILED"), True),
        (RuntimeError("CUDA error: out of memory"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("CUDA error"), False),
    ],
)
def test_a_device_in_error_is_known_by_whoever_says_so(error: Exception, lost: bool) -> None:
    assert device.is_lost(error) is lost


@pytest.mark.parametrize(
    ("capability", "asked", "dtype"),
    [
        ((9, 0), "auto", torch.bfloat16),
        ((8, 0), "auto", torch.bfloat16),
        ((7, 5), "auto", torch.float32),
        ((7, 5), "bf16", torch.bfloat16),
        ((9, 0), "fp32", torch.float32),
    ],
)
def test_a_gpu_that_only_emulates_bf16_gets_it_when_asked_to(
    capability: tuple[int, int], asked: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", {SECOND: capability}.__getitem__)
    assert device.choose_dtype(ChatterboxSettings(dtype=asked), SECOND) is dtype


def test_every_thread_that_loads_a_model_is_on_the_devices_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA each thread has a current GPU, the first one by default."""
    current, at_load = {}, []

    def load_model(*_: Any) -> Any:
        at_load.append((threading.get_ident(), current.get(threading.get_ident())))
        raise BackendUnavailable("not here")

    monkeypatch.setattr(torch.cuda, "set_device", lambda one: current.update({threading.get_ident(): one}))
    monkeypatch.setattr(device, "choose_device", lambda _: SECOND)
    monkeypatch.setattr(loading, "load_model", load_model)
    for name in ("english", "multilingual"):
        for file in backend.MODELS[name].files:
            (tmp_path / name / file).parent.mkdir(exist_ok=True)
            (tmp_path / name / file).touch()
    made = backend.ChatterboxBackend(
        ChatterboxSettings(models=("multilingual",), model_path=str(tmp_path)), BackendContext(tmp_path, "cuda:1")
    )
    with pytest.raises(BackendUnavailable, match="not here"):
        made.load(lambda *_: None)
    thread = threading.Thread(target=_fail_quietly, args=(made,))
    thread.start()
    thread.join()
    assert [where for _, where in at_load] == [SECOND, SECOND] and len({ident for ident, _ in at_load}) == 2


def _fail_quietly(made: Any) -> None:
    with pytest.raises(BackendUnavailable):
        made._start_later("multilingual", SECOND, lambda *_: None)


class _Part:
    """A part of a model in a reference cycle with itself."""

    def __init__(self) -> None:
        self.itself = self


def test_a_model_that_does_not_fit_gives_its_memory_back_at_once() -> None:
    parts = []

    def make(name: str) -> Any:
        part = _Part()
        parts.append(weakref.ref(part))
        raise BackendUnavailable("no room")

    class Silent:
        def synthesize(self, feed: Any) -> Any:
            feed.take(1, wait=True)
            return iter(())

        def close(self) -> None:
            """Do nothing."""

    gc.disable()
    try:
        switch = Switch("english", Silent(), make, lambda one: "turbo")
        _, failures = spoken(switch.synthesize(ListFeed([chunk(0, TEXTS[0])])))
        assert failures[0].error == "no room" and parts[0]() is None
    finally:
        gc.enable()

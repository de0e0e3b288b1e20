"""Tests of loading a model from whole, missing and broken files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.chatterbox_feed import ListFeed, chunk, spoken
from support.far_device import FAR

from backends.chatterbox import ChatterboxSettings
from backends.chatterbox.loading import load_model
from backends.chatterbox.weights import locate
from backends.interface import BackendContext, BackendUnavailable
from benchmarks.checkpoints import tiny_chatterbox
from benchmarks.decoding import TEXTS
from benchmarks.tiny import TinyChatterbox

TENSOR = "flow.encoder.encoders.0.norm_ff.weight"


def backend(folder: Path, device: str = "cpu", **settings: Any) -> TinyChatterbox:
    return TinyChatterbox(
        ChatterboxSettings(model_path=str(folder), **settings), BackendContext(Path("unused"), device)
    )


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def rewrite(path: Path, **tensors: torch.Tensor | None) -> None:
    """Replace or remove tensors."""
    held = load_file(path)
    for name, tensor in tensors.items():
        held.pop(name)
        if tensor is not None:
            held[name] = tensor
    save_file(held, path)


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_a_loaded_backend_speaks_and_is_what_it_said_it_was(checkpoint: Path, engine: str) -> None:
    loaded = backend(checkpoint, engine=engine)
    before = loaded.revision()
    progress: list[float] = []
    loaded.load(lambda share, _: progress.append(share))
    assert progress == sorted(progress) and progress[-1] < 1
    assert loaded.revision() == before
    voice = loaded.voices()[0]
    takes, failures = spoken(loaded.synthesize(ListFeed([chunk(n, TEXTS[n], voice=voice) for n in range(2)])))
    loaded.unload()
    assert sorted(takes) == [0, 1] and not failures
    with pytest.raises(BackendUnavailable, match="Model not initialized"):
        loaded.synthesize(ListFeed([]))


def test_both_engines_give_the_same_takes_from_the_same_files(checkpoint: Path) -> None:
    made = {}
    for engine in ("fast", "reference"):
        loaded = backend(checkpoint, engine=engine)
        loaded.load(lambda *_: None)
        made[engine], _ = spoken(loaded.synthesize(ListFeed([chunk(0, TEXTS[0])])))
        loaded.unload()
    assert (made["fast"][0].pcm == made["reference"][0].pcm).all()


def fails(loaded: TinyChatterbox, pattern: str) -> None:
    with pytest.raises(BackendUnavailable, match=pattern) as raised:
        loaded.load(lambda *_: None)
    assert raised.value.cure


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "t3_cfg.safetensors").unlink()
    fails(backend(copy), r"lacks t3_cfg\.safetensors")


def test_a_missing_tensor_of_the_token_decoder_is_named(copy: Path) -> None:
    rewrite(copy / "t3_cfg.safetensors", **{"speech_head.weight": None})
    fails(backend(copy), r"Missing key\(s\) in state_dict: \"speech_head\.weight\"")


def test_a_misshapen_tensor_of_the_token_decoder_is_named(copy: Path) -> None:
    rewrite(copy / "t3_cfg.safetensors", **{"speech_head.weight": torch.zeros(10, 64)})
    fails(backend(copy), r"size mismatch for speech_head\.weight")


def test_a_missing_tensor_of_the_mel_decoder_is_not_left_random(copy: Path) -> None:
    rewrite(copy / "s3gen.safetensors", **{TENSOR: None})
    fails(backend(copy), f"lacks the tensor {TENSOR}")


def test_a_misshapen_tensor_of_the_mel_decoder_is_named(copy: Path) -> None:
    rewrite(copy / "s3gen.safetensors", **{TENSOR: torch.zeros(3)})
    fails(backend(copy), f"size mismatch for {TENSOR}")


def test_a_truncated_file_is_said_to_be_broken(copy: Path) -> None:
    path = copy / "t3_cfg.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    fails(backend(copy), "cannot be loaded: SafetensorError")


def test_a_voice_file_that_is_none_is_said_to_be_broken(copy: Path) -> None:
    (copy / "conds.pt").write_bytes(b"not a voice")
    fails(backend(copy), "cannot be loaded")


def test_tensors_that_were_saved_from_a_gpu_are_loaded_for_any_device(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = torch.load(copy / "conds.pt", weights_only=True)
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        torch.save(voice, copy / "conds.pt")
    context = BackendContext(Path("unused"), "cpu")
    with tiny_chatterbox():
        model = load_model(locate(ChatterboxSettings(model_path=str(copy)), context), FAR)
    assert {model.conds.t3.speaker_emb.device, model.t3.device, model.s3gen.device} == {FAR}


def test_files_are_not_blamed_where_memory_is_short(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr("torch.nn.Module.to", scarce)
    with pytest.raises(BackendUnavailable, match="not enough memory for the model on cpu") as raised:
        backend(checkpoint).load(lambda *_: None)
    assert raised.value.cure == "free memory there or set DEVICE"


def test_files_are_not_blamed_where_the_device_is_in_error(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("torch.nn.Module.to", lost)
    with pytest.raises(RuntimeError, match="illegal memory access"):  # the worker ends, and the host starts another
        backend(checkpoint).load(lambda *_: None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_without_a_gpu_says_so(checkpoint: Path, device: str) -> None:
    fails(backend(checkpoint, device), f"DEVICE is '{device}', but ")


def test_an_unknown_device_is_refused(checkpoint: Path) -> None:
    fails(backend(checkpoint, "abacus"), "DEVICE is 'abacus'")


def test_offline_without_files_says_what_is_missing(tmp_path: Path) -> None:
    loaded = TinyChatterbox(ChatterboxSettings(offline=True), BackendContext(tmp_path, "cpu"))
    fails(loaded, "is not downloaded: .* lacks ve.safetensors")

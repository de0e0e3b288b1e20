"""The fast engine on a device that is not the CPU: it makes all tensors there, and a step copies nothing to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.chatterbox_feed import ListFeed, chunk, run
from support.far_device import FAR, SOUND, FarDraws, Strict, sent_far

from backends.chatterbox import ChatterboxSettings
from backends.chatterbox import engine as module
from backends.chatterbox.engine import FastEngine
from backends.chatterbox.models import MODELS
from benchmarks.decoding import TEXTS

ENGLISH = MODELS["english"]
TOKENS = 12
TWO_S = torch.Size([1, 48_000])


@pytest.fixture
def far(upstream: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Upstream's model on that device, with numbers where the host reads them: each chunk speaks until it is cut."""
    true_cpu, true_istft = torch.Tensor.cpu, torch.istft

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        return torch.zeros(tensor.shape) if tensor.device == FAR else true_cpu(tensor)

    def istft(*args: Any, **named: Any) -> torch.Tensor:
        if named["window"].device != FAR:  # the watermark's, on the CPU
            return true_istft(*args, **named)
        assert args[0].device == FAR
        return torch.empty(TWO_S, device=FAR)  # PyTorch's function reads numbers there, to check the window

    monkeypatch.setattr(module, "Draws", FarDraws)
    monkeypatch.setattr(module, "token_cap", lambda text: TOKENS + len(text) % 3)
    monkeypatch.setattr(torch, "istft", istft)
    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(torch.Tensor, "tolist", lambda chosen: [SOUND] * chosen.numel())
    return sent_far(upstream)


def chunks(n: int) -> list[Any]:
    """Chunks with and without guidance, top_p and min_p."""
    return [
        chunk(i, TEXTS[i], cfg_weight=0.5 * (i % 2), top_p=0.9 if i == 2 else 1.0, min_p=0.05 * (i != 3))
        for i in range(n)
    ]


@pytest.mark.parametrize(
    ("dtype", "mel_rows", "settings"),
    [(torch.bfloat16, 4, {}), (torch.float32, 1, {"deterministic": True})],
    ids=["bf16, batches", "deterministic"],
)
def test_every_tensor_is_on_the_models_device(
    far: Any, dtype: torch.dtype, mel_rows: int, settings: dict[str, Any]
) -> None:
    own = ChatterboxSettings(slots=3, **settings)
    engine = FastEngine(far, ENGLISH, own, dtype=dtype, mel_rows=mel_rows)
    with Strict():
        takes, failures = run(engine, ListFeed(chunks(5)))
    assert not failures, failures
    assert [takes[n].pcm.size for n in range(5)] == [TWO_S[1]] * 5


def test_a_step_in_which_nobody_comes_or_leaves_sends_nothing_to_the_device(far: Any) -> None:
    engine = FastEngine(far, ENGLISH, ChatterboxSettings(slots=3), dtype=torch.bfloat16)
    decoder, strict, sent = engine._decoder, Strict(), []
    with torch.no_grad(), strict:  # under inference_mode, operators have more names
        decoder.add([engine._job(one) for one in chunks(3)])
        assert strict.sent
        while decoder.active:
            strict.sent = 0
            if not decoder.step():
                sent.append(strict.sent)
    engine.close()
    assert len(sent) > TOKENS - 3 and set(sent) == {0}

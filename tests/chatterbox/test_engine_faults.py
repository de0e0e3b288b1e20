"""An error of one chunk fails that chunk only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.chatterbox_feed import ListFeed, assert_spoken, chunk, run
from support.voices import recorded

from backends.chatterbox import ChatterboxSettings
from backends.chatterbox.engine import FastEngine
from backends.chatterbox.models import MODELS
from backends.interface import Voice
from benchmarks.decoding import TEXTS

ENGLISH = MODELS["english"]
ALL = range(8)


class Choking:
    """Upstream's tokenizer, which raises for one text."""

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


def test_a_voice_without_a_readable_recording_fails_its_chunk_alone(upstream: Any, alone: Any, tmp_path: Any) -> None:
    (tmp_path / "noise.wav").write_bytes(b"not a recording")
    voice = Voice("broken", ("en",), "broken", material=recorded(tmp_path / "noise.wav"))
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings())
    takes, failures = run(engine, ListFeed([chunk(0, TEXTS[0]), chunk(1, TEXTS[1], voice=voice)]))
    assert failures[1].kind == "invalid_input"
    assert_spoken(takes, alone, [0])


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


def test_an_end_that_is_not_found_is_cut_and_said(upstream: Any, monkeypatch: Any) -> None:
    from backends.chatterbox import engine as module

    monkeypatch.setattr(module, "token_cap", lambda text: 10)
    takes, failures = run(FastEngine(upstream, ENGLISH, ChatterboxSettings()), ListFeed([chunk(0, TEXTS[0])]))
    assert not failures
    (warning,) = takes[0].warnings
    assert warning == "missed_eos: cut at 10 speech tokens, before the model found an end"


def failing_for(key: int, function: Any) -> Any:
    """Wrap a function so that it fails for one chunk."""

    def failing(job: Any) -> Any:
        if job.key == key:
            raise RuntimeError("poison")
        return function(job)

    return failing


@pytest.mark.parametrize("poison", [0, 2])
@pytest.mark.parametrize("deterministic", [False, True], ids=["plain", "deterministic"])
def test_a_prompt_that_cannot_be_read_fails_alone(
    upstream: Any, alone: Any, deterministic: bool, poison: int, monkeypatch: Any
) -> None:
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=4, deterministic=deterministic))
    monkeypatch.setattr(engine._decoder, "_text", failing_for(poison, engine._decoder._text))
    takes, failures = run(engine, ListFeed([chunk(n, TEXTS[n]) for n in range(4)]))
    assert list(failures) == [poison] and failures[poison].error == "RuntimeError: poison"
    assert_spoken(takes, alone, [n for n in range(4) if n != poison])


@pytest.mark.parametrize("deterministic", [False, True], ids=["plain", "deterministic"])
def test_a_decoder_that_could_not_add_some_jobs_has_none_of_them(upstream: Any, deterministic: bool) -> None:
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=4, deterministic=deterministic))
    decoder = engine._decoder
    jobs = [engine._job(chunk(n, TEXTS[n])) for n in range(3)]
    with torch.inference_mode():
        decoder.add(jobs[:1])
        decoder._text = failing_for(2, decoder._text)  # type: ignore[method-assign]
        with pytest.raises(RuntimeError):
            decoder.add(jobs[1:])
    engine.close()
    assert decoder.keys == {0} and decoder.rows == 2


def test_a_chunk_that_the_engine_loses_fails_instead_of_being_waited_for(
    upstream: Any, alone: Any, monkeypatch: Any
) -> None:
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=2))
    receiving = engine._receive
    monkeypatch.setattr(engine, "_receive", lambda one, events: one.job.key == 0 or receiving(one, events))
    takes, failures = run(engine, ListFeed([chunk(n, TEXTS[n]) for n in range(3)], on_ask=bounded))
    assert list(failures) == [0]
    assert failures[0].retryable and "lost" in failures[0].error
    assert_spoken(takes, alone, [1, 2])


def bounded(ask: int) -> None:
    """A feed that fails an engine that asks again and again without an event."""
    assert ask < 1000

"""The fast engine gives the same bytes and watermark as upstream's `generate()`."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from support.chatterbox_feed import BUILTIN, ListFeed, chunk, pcm16, spoken
from support.voices import recorded

from backends.chatterbox import ChatterboxOptions, ChatterboxSettings
from backends.chatterbox.engine import FastEngine
from backends.chatterbox.models import MODELS
from backends.chatterbox.reference import ReferenceEngine
from benchmarks.checkpoints import EOS_AT
from benchmarks.decoding import TEXTS

ENGLISH = MODELS["english"]


@pytest.fixture(scope="module")
def generated(upstream: Any) -> Any:
    conds = upstream.conds

    @functools.cache
    def wave(number: int, **options: float) -> Any:
        upstream.conds = type(conds)(conds.t3, dict(conds.gen))
        torch.manual_seed(100 + number)
        made = upstream.generate(TEXTS[number], **options).squeeze(0).numpy()
        upstream.conds = conds
        return made

    return wave


def speak(engine: Any, feed: ListFeed) -> Any:
    try:
        takes, failures = spoken(engine.synthesize(feed))
    finally:
        engine.close()
    assert not failures
    return takes


def fast(model: Any, settings: ChatterboxSettings | None = None, **rest: Any) -> FastEngine:
    return FastEngine(model, ENGLISH, settings or ChatterboxSettings(), **rest)


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_takes_are_upstreams_bytes(upstream: Any, generated: Any, slots: int) -> None:
    numbers = range(4)
    feed = ListFeed([chunk(n, TEXTS[n]) for n in numbers], arrivals=[0, 0, 5, 11])
    takes = speak(fast(upstream, ChatterboxSettings(slots=slots)), feed)
    assert sorted(takes) == list(numbers)
    for n in numbers:
        assert takes[n].rate == 24_000
        assert takes[n].warnings == ()
        np.testing.assert_array_equal(takes[n].pcm, generated(n))


def test_takes_of_a_shared_mel_batch_are_upstreams_within_one_step(upstream: Any, generated: Any) -> None:
    takes = speak(fast(upstream, mel_rows=4), ListFeed([chunk(n, TEXTS[n]) for n in range(6)]))
    for n in range(6):
        theirs, ours = pcm16(generated(n)).astype(int), pcm16(takes[n].pcm).astype(int)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1


def test_options_mean_what_they_mean_upstream(upstream: Any, generated: Any) -> None:
    options = {"exaggeration": 1.2, "cfg_weight": 0.3, "temperature": 0.6, "min_p": 0.02, "top_p": 0.9}
    takes = speak(fast(upstream), ListFeed([chunk(0, TEXTS[0], **options), chunk(1, TEXTS[1])]))
    np.testing.assert_array_equal(takes[0].pcm, generated(0, **options))
    np.testing.assert_array_equal(takes[1].pcm, generated(1))


def test_the_reference_engine_gives_upstreams_bytes(upstream: Any, generated: Any) -> None:
    conds = upstream.conds
    feed = ListFeed([chunk(0, TEXTS[0]), chunk(1, TEXTS[1], exaggeration=1.2), chunk(2, TEXTS[2])])
    takes = speak(ReferenceEngine(upstream, ENGLISH, ChatterboxSettings(engine="reference")), feed)
    upstream.conds = conds
    for n, options in ((0, {}), (1, {"exaggeration": 1.2}), (2, {})):
        np.testing.assert_array_equal(takes[n].pcm, generated(n, **options))


def test_both_engines_agree_without_guidance(upstream: Any) -> None:
    conds = upstream.conds
    chunks = [chunk(n, TEXTS[n], cfg_weight=0.0) for n in range(2)]
    reference = speak(ReferenceEngine(upstream, ENGLISH, ChatterboxSettings(engine="reference")), ListFeed(chunks))
    upstream.conds = conds
    takes = speak(fast(upstream), ListFeed(chunks))
    for n in range(2):
        np.testing.assert_array_equal(takes[n].pcm, reference[n].pcm)


def test_deterministic_takes_are_the_same_bytes_in_any_company(upstream: Any, generated: Any) -> None:
    settings = ChatterboxSettings(deterministic=True, slots=3)
    alone = speak(fast(upstream, settings), ListFeed([chunk(0, TEXTS[0])]))[0].pcm
    np.testing.assert_array_equal(alone, generated(0))
    for others, arrivals in (((3,), (0, 0)), ((1, 2, 4), (0, 0, 4, 9))):
        feed = ListFeed([*[chunk(n, TEXTS[n]) for n in others], chunk(0, TEXTS[0])], arrivals)
        np.testing.assert_array_equal(speak(fast(upstream, settings), feed)[0].pcm, alone)


def test_the_watermark_is_there(upstream: Any) -> None:
    take = speak(fast(upstream), ListFeed([chunk(0, TEXTS[0])]))[0]
    with torch.inference_mode():
        assert upstream.watermarker.get_watermark(take.pcm, sample_rate=24_000).mean() == 1.0


def test_a_take_has_the_length_of_its_tokens(upstream: Any) -> None:
    # 25 tokens a second, EOS baked in; tokens that are no sounds are dropped.
    take = speak(fast(upstream), ListFeed([chunk(0, TEXTS[0])]))[0]
    assert take.pcm.size % 960 == 0
    assert 0 < take.pcm.size <= EOS_AT * 960


def test_engines_give_each_chunk_its_own_voice(upstream: Any, tmp_path: Any) -> None:
    from backends.interface import Voice
    from benchmarks.checkpoints import write_recording

    write_recording(tmp_path / "high.wav", seconds=6.0, hertz=230.0)
    high = Voice("high", ("en",), "high-1", material=recorded(tmp_path / "high.wav"))
    chunks = [chunk(0, TEXTS[0]), chunk(1, TEXTS[0], seed=100, voice=high), chunk(2, TEXTS[0], seed=100)]
    takes = speak(fast(upstream, mel_rows=3), ListFeed(chunks))
    assert np.abs(pcm16(takes[0].pcm).astype(int) - pcm16(takes[2].pcm)).max() <= 1
    assert takes[1].pcm.shape != takes[0].pcm.shape or np.abs(takes[1].pcm - takes[0].pcm).max() > 0.01
    conds = upstream.conds
    upstream.prepare_conditionals(str(tmp_path / "high.wav"))
    torch.manual_seed(100)
    theirs = upstream.generate(TEXTS[0]).squeeze(0).numpy()
    upstream.conds = conds
    assert np.abs(pcm16(takes[1].pcm).astype(int) - pcm16(theirs)).max() <= 1


def test_options_out_of_range_are_refused() -> None:
    import msgspec

    for wrong in ({"exaggeration": 2.5}, {"cfg_weight": -0.1}, {"temperature": 0.0}, {"top_p": 0.0}, {"speed": 1.0}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, ChatterboxOptions)
    assert BUILTIN.material is None


def test_in_bf16_takes_are_whole_marked_and_about_as_long(upstream: Any, generated: Any) -> None:
    takes = speak(fast(upstream, dtype=torch.bfloat16), ListFeed([chunk(n, TEXTS[n]) for n in range(4)]))
    assert sorted(takes) == [0, 1, 2, 3]
    for n, take in takes.items():
        assert np.isfinite(take.pcm).all() and take.warnings == ()
        assert 0.5 < take.pcm.size / generated(n).size < 2.0, "24 tokens but for those that are no sounds"
        with torch.inference_mode():
            assert upstream.watermarker.get_watermark(take.pcm, sample_rate=24_000).mean() == 1.0

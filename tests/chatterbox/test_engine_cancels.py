"""A cancel works at every stage of a chunk and does not change the other chunks."""

from __future__ import annotations

from typing import Any

import pytest
from support.chatterbox_feed import ListFeed, assert_spoken, chunk, run
from support.voices import recorded

from backends.chatterbox import ChatterboxSettings, pulse
from backends.chatterbox.engine import FastEngine
from backends.chatterbox.models import MODELS
from backends.chatterbox.reference import ReferenceEngine
from backends.interface import Voice
from benchmarks.checkpoints import write_recording
from benchmarks.decoding import TEXTS

ENGLISH = MODELS["english"]
ALL = range(8)


def test_a_cancelled_chunk_frees_its_slot_within_two_steps(upstream: Any, alone: Any) -> None:
    feed = ListFeed([chunk(n, TEXTS[n]) for n in ALL])
    asked: dict[str, int] = {}

    def on_ask(ask: int) -> None:
        if ask == 8:  # all chunks are in their middle: they end at step 24
            feed.unwanted.add(2)
        if 2 in feed.told and "free" not in asked and engine.decoding < 8:
            asked["free"] = ask

    feed._on_ask = on_ask
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=8))
    ticking = feed.cancelled

    def cancelled(chunk_id: int) -> bool:
        # A full engine does not ask for more chunks, so the test acts when it asks about a cancel.
        if chunk_id == 0:
            feed.asks += 1
            on_ask(feed.asks)
        return ticking(chunk_id)

    feed.cancelled = cancelled  # type: ignore[method-assign]
    takes, failures = run(engine, feed)
    assert not failures
    assert asked["free"] - 8 <= 2
    assert_spoken(takes, alone, [n for n in ALL if n != 2])


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


def test_the_reference_engine_leaves_a_cancelled_chunk_in_the_middle(upstream: Any) -> None:
    conds = upstream.conds
    feed = ListFeed([chunk(0, TEXTS[0]), chunk(1, TEXTS[1])])
    heard = 0
    plain = feed.cancelled

    def cancelled(chunk_id: int) -> bool:
        nonlocal heard
        heard += chunk_id == 0
        if heard == 3:  # the first call is before it begins
            feed.unwanted.add(0)
        return plain(chunk_id)

    feed.cancelled = cancelled  # type: ignore[method-assign]
    takes, failures = run(ReferenceEngine(upstream, ENGLISH, ChatterboxSettings(engine="reference")), feed)
    upstream.conds = conds
    assert list(takes) == [1] and not failures


class Watched:
    """A feed whose chunk is cancelled while some method runs.

    Attributes:
        inside: whether it runs now.
        told: how often the engine heard of the cancel from within it.
        finished: calls that were not left in the middle.
    """

    def __init__(self, feed: ListFeed, unwanted: int) -> None:
        self.inside = False
        self.told = self.finished = 0
        plain = feed.cancelled

        def cancelled(chunk_id: int) -> bool:
            if self.inside and chunk_id == unwanted:
                feed.unwanted.add(unwanted)
                self.told += 1
            return plain(chunk_id)

        feed.cancelled = cancelled  # type: ignore[method-assign]

    def watch(self, function: Any) -> Any:
        def watched(*args: Any) -> Any:
            self.inside = True
            try:
                result = function(*args)
            finally:
                self.inside = False
            self.finished += 1
            return result

        return watched


@pytest.mark.parametrize("deterministic", [False, True], ids=["plain", "deterministic"])
@pytest.mark.parametrize("method", ["add", "step"])
def test_a_cancel_is_heard_while_prompts_are_read_and_tokens_decoded(
    upstream: Any, alone: Any, method: str, deterministic: bool, monkeypatch: Any
) -> None:
    monkeypatch.setattr(pulse, "INTERVAL_S", 0.0)
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=4, deterministic=deterministic))
    feed = ListFeed([chunk(n, TEXTS[n]) for n in range(4)])
    watched = Watched(feed, unwanted=2)
    monkeypatch.setattr(engine._decoder, method, watched.watch(getattr(engine._decoder, method)))
    fed: list[set[int]] = []
    reading = engine._decoder._read
    monkeypatch.setattr(engine._decoder, "_read", lambda tokens: fed.append(engine._decoder.keys) or reading(tokens))
    takes, failures = run(engine, feed)
    assert watched.told and not failures
    assert sum(2 in keys for keys in fed) == (method == "step"), "nothing more is decoded for it"
    assert_spoken(takes, alone, [0, 1, 3])


def test_a_prompt_nobody_wants_any_more_is_left_in_the_middle(upstream: Any, alone: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(pulse, "INTERVAL_S", 0.0)
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=1))
    feed = ListFeed([chunk(0, TEXTS[0]), chunk(1, TEXTS[1])])
    watched = Watched(feed, unwanted=1)
    adding = engine._decoder.add
    monkeypatch.setattr(
        engine._decoder, "add", lambda jobs: (watched.watch(adding) if jobs[0].key == 1 else adding)(jobs)
    )
    takes, failures = run(engine, feed)
    assert watched.told == 1 and not watched.finished and not failures
    assert_spoken(takes, alone, [0])


@pytest.mark.parametrize("part", ["ve", "tokenizer", "speaker_encoder"])
def test_a_voice_nobody_wants_any_more_is_left_in_the_middle(
    upstream: Any, alone: Any, part: str, monkeypatch: Any, tmp_path: Any
) -> None:
    monkeypatch.setattr(pulse, "INTERVAL_S", 0.0)
    write_recording(tmp_path / "voice.wav", seconds=4.0)
    voice = Voice("own", ("en",), "own-1", material=recorded(tmp_path / "voice.wav"))
    engine = FastEngine(upstream, ENGLISH, ChatterboxSettings(slots=2))
    feed = ListFeed([chunk(0, TEXTS[0]), chunk(1, TEXTS[1], voice=voice), chunk(2, TEXTS[2])], arrivals=[0, 5, 5])
    watched = Watched(feed, unwanted=1)
    module = upstream.ve if part == "ve" else getattr(upstream.s3gen, part)
    monkeypatch.setattr(module, "forward", watched.watch(module.forward))
    takes, failures = run(engine, feed)
    assert watched.told == 1 and not watched.finished and not failures
    assert_spoken(takes, alone, [0, 2])

"""The batched decoder gives the same tokens as upstream's loop, in any batch."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.chatterbox.knobs import Knobs
from backends.chatterbox.t3 import MAX_TEXT, T3Decoder, TooLong
from benchmarks.checkpoints import make_english, tiny_chatterbox
from benchmarks.decoding import GREEDY, TEXTS, changed, job, run, upstream_tokens

MOST = 40
SAMPLED = Knobs()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model without a built-in end: rows run long and their logits are random."""
    folder: Path = make_english(tmp_path_factory.mktemp("chatterbox") / "endless", eos_at=None)
    with tiny_chatterbox():
        from chatterbox.tts import ChatterboxTTS

        return ChatterboxTTS.from_local(folder, "cpu")


@pytest.fixture(scope="module")
def expected(model: Any) -> Any:
    @functools.cache
    def tokens(number: int, knobs: Knobs, most: int = MOST) -> list[int]:
        return upstream_tokens(model, TEXTS[number], knobs, 100 + number, most)

    return tokens


@pytest.mark.parametrize("knobs", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("size", range(1, 9))
def test_tokens_are_upstreams_at_every_batch_size(model: Any, expected: Any, size: int, knobs: Knobs) -> None:
    decoder = T3Decoder(model.t3, slots=8)
    done = run(decoder, [job(model, n, TEXTS[n], knobs, 100 + n, MOST) for n in range(size)])
    assert {n: done[n].tokens for n in range(size)} == {n: expected(n, knobs) for n in range(size)}


@pytest.mark.parametrize("knobs", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("slots", [2, 3, 5])
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5, 6, 7), (7, 2, 5, 0, 6, 1, 4, 3)], ids=["given", "mixed"])
def test_tokens_stay_upstreams_while_slots_are_refilled(
    model: Any, expected: Any, slots: int, order: Any, knobs: Knobs
) -> None:
    # Rows of different lengths: chunks end and join in the middle of others.
    most = {n: 12 + 7 * n % 29 for n in order}
    jobs = [job(model, n, TEXTS[n], knobs, 100 + n, most[n]) for n in order]
    done = run(T3Decoder(model.t3, slots=slots), jobs, arrivals=[3 * place for place in range(8)])
    assert {n: done[n].tokens for n in order} == {n: expected(n, knobs, most[n]) for n in order}


@pytest.mark.parametrize("slots", [16, 64])
def test_tokens_are_upstreams_in_the_largest_batches(model: Any, expected: Any, slots: int) -> None:
    jobs = [job(model, n, TEXTS[n % 8], SAMPLED, 100 + n % 8, 12) for n in range(slots + 8)]
    done = run(T3Decoder(model.t3, slots=slots), jobs)
    assert all(done[n].tokens == expected(n % 8, SAMPLED, 12) for n in range(slots + 8))


def test_a_voice_is_read_once_for_all_texts(model: Any, monkeypatch: Any) -> None:
    decoder = T3Decoder(model.t3, slots=4)
    positions = 0
    forward = decoder._llama.forward

    def counted(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        nonlocal positions
        positions += x.shape[0] * x.shape[1]
        return forward(x, *rest)

    monkeypatch.setattr(decoder._llama, "forward", counted)
    run(decoder, [job(model, 0, TEXTS[0], SAMPLED, 1, 1)])
    first, positions = positions, 0
    run(decoder, [job(model, 1, TEXTS[0], SAMPLED, 2, 1)])
    text = job(model, 2, TEXTS[0], SAMPLED, 3).text.numel()
    assert first > positions == (text + 2) + 2, "conditional text with its two BOS, and two BOS of the other row"


def test_rows_with_options_of_their_own_do_not_mix(model: Any, expected: Any) -> None:
    knobs = [
        SAMPLED,
        GREEDY,
        changed(SAMPLED, cfg_weight=0.0),
        changed(SAMPLED, top_p=0.7, min_p=0.0),
        changed(SAMPLED, exaggeration=1.3),
        changed(SAMPLED, temperature=0.4, repetition_penalty=2.0),
        changed(SAMPLED, cfg_weight=0.0, exaggeration=0.2),
        changed(SAMPLED, cfg_weight=1.0),
    ]
    jobs = [job(model, n, TEXTS[n], knobs[n], 100 + n, 20) for n in range(8)]
    for slots in (3, 8):
        done = run(T3Decoder(model.t3, slots=slots), [*jobs] if slots == 3 else _again(model, jobs))
        assert {n: done[n].tokens for n in done} == {n: expected(n, knobs[n], 20) for n in range(8)}


def test_without_guidance_a_chunk_takes_one_row(model: Any) -> None:
    decoder = T3Decoder(model.t3, slots=2)
    with torch.inference_mode():
        decoder.add([job(model, 0, TEXTS[0], changed(SAMPLED, cfg_weight=0.0), 1)])
        decoder.add([job(model, 1, TEXTS[1], SAMPLED, 1)])
        assert decoder.rows == 3


def test_a_dropped_job_leaves_the_others_alone(model: Any, expected: Any) -> None:
    decoder = T3Decoder(model.t3, slots=4)
    with torch.inference_mode():
        decoder.add([job(model, n, TEXTS[n], SAMPLED, 100 + n, MOST) for n in range(4)])
        for _ in range(10):
            decoder.step()
        decoder.drop({0, 2})
        assert decoder.room == 2
    done = run(decoder, [job(model, 5, TEXTS[5], SAMPLED, 105, MOST)])
    assert {n: done[n].tokens for n in done} == {n: expected(n, SAMPLED) for n in (1, 3, 5)}


def test_a_fixed_shape_gives_the_same_tokens(model: Any, expected: Any) -> None:
    decoder = T3Decoder(model.t3, slots=3, fixed=True, max_tokens=MOST)
    done = run(decoder, [job(model, n, TEXTS[n], SAMPLED, 100 + n, 20) for n in range(5)])
    assert {n: done[n].tokens for n in done} == {n: expected(n, SAMPLED, 20) for n in range(5)}


def test_with_a_fixed_shape_company_does_not_change_a_bit_of_the_state(model: Any) -> None:
    def state_after(company: list[int], place: int) -> torch.Tensor:
        decoder = T3Decoder(model.t3, slots=4, fixed=True, max_tokens=MOST)
        jobs = [job(model, n, TEXTS[n], SAMPLED, 100 + n, MOST) for n in company]
        jobs.insert(place, job(model, 0, TEXTS[0], SAMPLED, 100, MOST))
        with torch.inference_mode():
            decoder.add(jobs)
            for _ in range(15):
                decoder.step()
            return decoder.hidden(0).clone()

    alone = state_after([], 0)
    for company, place in (([3], 0), ([3, 1], 1), ([5, 2, 4], 3)):
        assert torch.equal(state_after(company, place), alone)


def test_bf16_rows_mostly_agree_with_fp32(model: Any, expected: Any) -> None:
    decoder = T3Decoder(model.t3, slots=4, dtype=torch.bfloat16)
    done = run(decoder, [job(model, n, TEXTS[n], GREEDY, 100 + n, MOST) for n in range(4)])
    same = [
        next((i for i, (a, b) in enumerate(zip(done[n].tokens, expected(n, GREEDY), strict=True)) if a != b), MOST)
        for n in range(4)
    ]
    print(f"bf16 and fp32 first differ at token {same} of {MOST}")
    assert min(same) >= 1


def test_a_text_beyond_the_room_is_refused_before_it_is_read(model: Any) -> None:
    with pytest.raises(TooLong, match=f"{MAX_TEXT} are the most"):
        job(model, 0, "word " * MAX_TEXT, SAMPLED, 1)


def _again(model: Any, jobs: list[Any]) -> list[Any]:
    """Return the same decodings with their random numbers at the beginning."""
    return [job(model, old.key, TEXTS[old.key], old.knobs, 100 + old.key, old.max_tokens) for old in jobs]

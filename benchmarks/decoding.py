"""Upstream's token loop and ours on the same model, for tests that compare and benchmarks that time them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import torch
import torch.nn.functional as F

from backends.chatterbox.conditionals import VoiceConds
from backends.chatterbox.draws import Draws
from backends.chatterbox.knobs import Knobs
from backends.chatterbox.t3 import ChunkDecoding, Decoded, T3Decoder

GREEDY = Knobs(temperature=1.0, min_p=0.0, top_p=0.0)

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Hi!",
    "A much longer sentence follows here, so that the rows are ragged, with commas, and with 3 digits.",
    "Second to last one.",
    "What is this?",
    "One more sentence for the batch, medium size.",
    "Short.",
    "The final row of the batch is here, at last.",
)


def text_tokens(model: Any, text: str) -> torch.Tensor:
    """Return (n,) text tokens with start and end, as upstream's `generate()` makes them."""
    from chatterbox.tts import punc_norm

    tokens = model.tokenizer.text_to_tokens(punc_norm(text))[0].long()
    hp = model.t3.hp
    return F.pad(F.pad(tokens, (1, 0), value=hp.start_text_token), (0, 1), value=hp.stop_text_token)


def upstream_tokens(model: Any, text: str, knobs: Knobs, seed: int, most: int) -> list[int]:
    """Return the speech tokens of upstream's loop, without the end token."""
    tokens = text_tokens(model, text).to(model.t3.device)
    torch.manual_seed(seed)
    with torch.inference_mode():
        spoken = model.t3.inference(
            t3_cond=VoiceConds("v", model.conds, 10.0).t3_cond(knobs.exaggeration),
            text_tokens=torch.stack([tokens, tokens]),
            max_new_tokens=most,
            temperature=knobs.temperature,
            cfg_weight=knobs.cfg_weight or 5e-324,
            repetition_penalty=knobs.repetition_penalty,
            min_p=knobs.min_p,
            top_p=knobs.top_p,
        )
    found: list[int] = spoken[0].tolist()
    return found[:-1] if found[-1] == model.t3.hp.stop_speech_token else found


def job(model: Any, key: int, text: str, knobs: Knobs, seed: int, most: int = 1000, voice: str = "v") -> ChunkDecoding:
    """Make a chunk for our decoder."""
    conds = VoiceConds(voice, model.conds, 10.0)
    draws = Draws(seed, torch.device(model.t3.device))
    return ChunkDecoding(key, text_tokens(model, text), conds, knobs, draws, most)


def run(decoder: T3Decoder, jobs: Sequence[ChunkDecoding], arrivals: Sequence[int] = ()) -> dict[int, Decoded]:
    """Decode all jobs; job n is offered from step `arrivals[n]` on, and enters when a slot is free."""
    waiting = list(zip(jobs, [*arrivals, *[0] * len(jobs)], strict=False))
    done: dict[int, Decoded] = {}
    step = 0
    with torch.inference_mode():
        while waiting or decoder.active:
            due = [job for job, arrival in waiting if arrival <= step][: decoder.room]
            waiting = [(job, arrival) for job, arrival in waiting if job not in due]
            decoder.add(due)
            for decoded in decoder.step():
                done[decoded.job.key] = decoded
            step += 1
    return done


def changed(knobs: Knobs, **values: float) -> Knobs:
    """Return a copy with these fields changed."""
    return msgspec.structs.replace(knobs, **values)

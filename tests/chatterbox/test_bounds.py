"""The caches of voices are bounded, and a voice computed again sounds the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from support.voices import recorded

from backends.chatterbox.conditionals import VoiceConditionals
from backends.chatterbox.knobs import Knobs
from backends.chatterbox.prompts import KEPT
from backends.chatterbox.t3 import T3Decoder
from backends.interface import Voice
from benchmarks.checkpoints import write_recording
from benchmarks.decoding import TEXTS, changed, job, run


def test_conditionals_of_the_last_voices_are_kept(upstream: Any, tmp_path: Path) -> None:
    voices = []
    for nth, hertz in enumerate((100.0, 160.0, 220.0)):
        write_recording(tmp_path / f"{nth}.wav", seconds=3.0, hertz=hertz)
        voices.append(Voice(f"v{nth}", ("en",), f"hash-{nth}", material=recorded(tmp_path / f"{nth}.wav")))
    kept = VoiceConditionals(upstream, kept=2)
    first = kept.of(voices[0])
    assert kept.of(voices[0]) is first
    for voice in voices[1:]:
        kept.of(voice)
    assert len(kept) == 2
    again = kept.of(voices[0])
    assert again is not first
    assert torch.equal(again.t3.speaker_emb, first.t3.speaker_emb)
    assert torch.equal(again.gen["prompt_token"], first.gen["prompt_token"])


def test_a_shorter_reference_is_heard_less_of(upstream: Any) -> None:
    voice = Voice("default", ("en",), "builtin")
    whole = VoiceConditionals(upstream).of(voice).gen
    half = VoiceConditionals(upstream, reference_s=5.0).of(voice).gen
    assert whole["prompt_token"].shape[1] == 250 and half["prompt_token"].shape[1] == 125
    assert half["prompt_feat"].shape[1] == 250


def test_prompts_that_were_read_are_kept_within_bounds(upstream: Any) -> None:
    decoder = T3Decoder(upstream.t3, slots=4)
    shades = [round(0.3 + 0.05 * nth, 2) for nth in range(KEPT + 4)]
    jobs = [job(upstream, n, TEXTS[1], changed(Knobs(), exaggeration=shade), 7, 4) for n, shade in enumerate(shades)]
    first = run(decoder, jobs)
    assert decoder.prompts_kept == KEPT
    again = run(decoder, [job(upstream, 0, TEXTS[1], changed(Knobs(), exaggeration=shades[0]), 7, 4)])
    assert again[0].tokens == first[0].tokens

"""Length estimates give the audio length of a text before it is spoken."""

from __future__ import annotations

from backends.interface import ChunkRule, Limit
from benchmarks.texts import story
from gateway.speech.text.length import most_samples
from gateway.speech.text.plan import make_plan

RULE = ChunkRule(40, 40, Limit(280))
RATE = 24_000
CHARS_PER_S = 15.7
"""Rate of the embedded voice, measured on these sentences, pauses included."""


def test_a_long_text_is_told_to_be_at_least_as_long_as_it_is_spoken_and_not_much_longer():
    plan = make_plan(story(100_000), "en", RULE)
    real = plan.chars / CHARS_PER_S * RATE
    assert real < most_samples(plan, 1.0, RATE) < 1.3 * real
    half = most_samples(plan, 2.0, RATE)
    assert abs(half - most_samples(plan, 1.0, RATE) / 2) < 0.01 * half

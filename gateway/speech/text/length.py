"""Estimates the length of a plan's audio before it is spoken."""

from __future__ import annotations

from gateway.speech.text.pace import seconds_to_speak
from gateway.speech.text.plan import Pause, Plan, Speak

_SLOWER = 1.1
"""Margin for voices that are a tenth slower than usual, so that a file too long for its format is refused early."""


def most_samples(plan: Plan, speed: float, rate: int) -> int:
    """Estimate the samples at `rate` Hz that a slow voice needs for a plan, pauses included."""
    speech_s = sum(
        seconds_to_speak(segment.text) / segment.rate for segment in plan.segments if isinstance(segment, Speak)
    )
    silence = sum(segment.samples(speed, rate) for segment in plan.segments if isinstance(segment, Pause))
    return round(speech_s * _SLOWER / speed * rate) + silence

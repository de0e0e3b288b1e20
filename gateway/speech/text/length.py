"""How long a plan becomes when it is spoken, before anybody has spoken it."""

from __future__ import annotations

from gateway.speech.text.pace import seconds_to_speak
from gateway.speech.text.plan import Pause, Plan, Speak

_SLOWER = 1.1
"""A voice may be a tenth slower than the common pace: better another format now than nothing after hours."""


def most_samples(plan: Plan, speed: float, rate: int) -> int:
    """About as many samples at `rate` Hz as a slow voice makes of a plan, pauses included."""
    speech_s = sum(seconds_to_speak(segment.text) for segment in plan.segments if isinstance(segment, Speak))
    silence = sum(segment.samples(speed, rate) for segment in plan.segments if isinstance(segment, Pause))
    return round(speech_s * _SLOWER / speed * rate) + silence

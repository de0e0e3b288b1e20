"""Plans a text that has segments: voices, languages, rates, gains, pauses and marks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from gateway.speech.text.plan import PAUSE_MS, Mark, Pause, Plan, Segment, Speak

PlanText = Callable[[str, str | None], Plan]
"""Plans plain text; the second argument is its language, None for the request's."""


def plan_segments(segments: Iterable[Segment], plan_text: PlanText) -> Plan:
    """Cut the text of each segment into chunks that are spoken as the segment says.

    Between two segments without a pause there is the natural one of the boundary that ended the first, before any mark.
    A segment with SSML stays one chunk, since markup cannot be cut between words.
    """
    planned: list[Segment] = []
    between: list[Pause | Mark] = []
    ended: Speak | None = None
    for segment in segments:
        if not isinstance(segment, Speak):
            between.append(segment)
            continue
        chunks = _chunks(segment, plan_text)
        if not chunks:
            continue
        if ended is not None and not any(isinstance(each, Pause) for each in between):
            planned.append(Pause(PAUSE_MS[ended.kind]))
        planned += [*between, *chunks]
        between, ended = [], segment
    return Plan((*planned, *between))


def _chunks(segment: Speak, plan_text: PlanText) -> list[Segment]:
    if segment.ssml is not None:
        return [segment]
    chunks = [
        msgspec.structs.replace(
            each, voice=segment.voice, language=segment.language, rate=segment.rate, gain=segment.gain
        )
        if isinstance(each, Speak)
        else each
        for each in plan_text(segment.text, segment.language).segments
    ]
    if chunks and isinstance(last := chunks[-1], Speak):
        chunks[-1] = msgspec.structs.replace(last, kind=segment.kind)
    return chunks

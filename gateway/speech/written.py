"""What was written where something else was spoken: a plan's chunks with the words of their author."""

from __future__ import annotations

import re

import msgspec

from gateway.speech.lexicon import Respelled
from gateway.speech.plan import Plan, Speak


def as_written(plan: Plan, respelled: Respelled) -> Plan:
    """The plan of a respelled text, each chunk with what was written in its place.

    A plan holds no places in its text, so respellings are found again in the chunks: every occurrence of one in the
    text has its counterpart there, in the same order. Where that is not so (one was cut in two, or became other words
    as numbers were spelled out) the chunks say what is spoken.
    """
    words = {respelled.text[place.start : place.end] for place in respelled.replaced}
    pattern = re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))))
    written = {(place.start, place.end): place.written for place in respelled.replaced}
    occurrences = [(match.group(), written.pop(match.span(), None)) for match in pattern.finditer(respelled.text)]
    speaks = plan.speaks
    found = [pattern.findall(speak.text) for speak in speaks]
    if written or [each for of_chunk in found for each in of_chunk] != [spoken for spoken, _ in occurrences]:
        return plan
    shown = iter([instead or spoken for spoken, instead in occurrences])
    texts = iter([pattern.sub(lambda _: next(shown), speak.text) for speak in speaks])
    return Plan(tuple(_with(each, next(texts)) if isinstance(each, Speak) else each for each in plan.segments))


def _with(speak: Speak, written: str) -> Speak:
    return speak if written == speak.text else msgspec.structs.replace(speak, written=written)

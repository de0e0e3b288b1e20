"""Gives the chunks of a respelled plan the words of their author."""

from __future__ import annotations

import msgspec

from gateway.speech.text.automaton import Automaton
from gateway.speech.text.lexicon import Respelled
from gateway.speech.text.plan import Plan, Speak


def as_written(plan: Plan, respelled: Respelled) -> Plan:
    """Return the plan of a respelled text with `Speak.written` filled in. Takes linear time.

    A plan has no positions in its text, so the respellings are searched in the chunks: each occurrence in the text must
    have one in the chunks, in the same order. If not (a respelling was cut in two, or changed when numbers were
    spelled out), the plan is returned as it is.
    """
    words = Automaton({respelled.text[place.start : place.end] for place in respelled.replaced})
    written = {(place.start, place.end): place.written for place in respelled.replaced}
    occurrences = []
    for start, end in words.spans(respelled.text):
        spoken = respelled.text[start:end]
        occurrences.append((spoken, written.pop((start, end), spoken)))
    if written:
        return plan
    found = [list(words.spans(speak.text)) for speak in plan.speaks]
    if sum(map(len, found)) != len(occurrences):
        return plan
    shown = iter(occurrences)
    texts: list[str] = []
    for speak, spans in zip(plan.speaks, found, strict=True):
        parts: list[str] = []
        read = 0
        for start, end in spans:
            spoken, instead = next(shown)
            if speak.text[start:end] != spoken:
                return plan
            parts += (speak.text[read:start], instead)
            read = end
        texts.append("".join((*parts, speak.text[read:])))
    written_texts = iter(texts)
    return Plan(tuple(_with(each, next(written_texts)) if isinstance(each, Speak) else each for each in plan.segments))


def _with(speak: Speak, written: str) -> Speak:
    return speak if written == speak.text else msgspec.structs.replace(speak, written=written)

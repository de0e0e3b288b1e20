"""Finds the lane of a request with as little planning as possible."""

from __future__ import annotations

from gateway.jobs.model.lanes import SHORT_CHUNKS, lane_of_chunks
from gateway.jobs.plan.assign import Assignment
from gateway.speech.planner import planned
from gateway.speech.text.plan import make_plan
from storage.records import Lane


def lane_of(assignment: Assignment, *, low: bool) -> Lane:
    """Return the lane of a request on its arm. A text is planned only if its length does not decide.

    A text longer than SHORT_CHUNKS chunks of maximum length is in the long lane; shorter ones are planned in a
    millisecond.
    """
    if low:
        return Lane.LOW
    rule, text = assignment.rule, assignment.request.text
    longest = SHORT_CHUNKS * rule.max.n
    if len(text) <= longest and assignment.lexicon is not None:
        respelled = assignment.lexicon.respell(text)
        text = text if respelled is None else respelled.text
    if len(text) > longest:
        return Lane.LONG
    if assignment.request.segments:
        return lane_of_chunks(len(planned(assignment.order(assignment.voices)).script))
    if len(text.encode()) <= rule.target_chars and "\n" not in text and not assignment.spelled_out:
        return Lane.SHORT
    plan = make_plan(text, assignment.arm.language, rule, spelled_out=assignment.spelled_out)
    return lane_of_chunks(len(plan.speaks))

"""What a job's takes are, for whoever speaks them and whoever reads them."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec

from gateway.cache.keys import Source
from gateway.jobs.intake import Assignment
from gateway.speech.plan import Plan, make_plan
from gateway.speech.request import SpeechRequest
from storage.records import JobRecord

PLAN_IN_THREAD_CHARS = 20_000
"""Longer texts are planned in a thread: at about 10 MB/s they would hold the event loop."""

SPELLING_COSTS = 20
"""So many times as long as planning alone takes a text that is spelled out."""


async def plan_of(assignment: Assignment) -> Plan:
    """The plan of a request on its arm."""
    text, language, rule = assignment.request.text, assignment.arm.language, assignment.rule
    plan = partial(make_plan, text, language, rule, spelled_out=assignment.spelled_out)
    if len(text) > (PLAN_IN_THREAD_CHARS // SPELLING_COSTS if assignment.spelled_out else PLAN_IN_THREAD_CHARS):
        return await asyncio.to_thread(plan)
    return plan()


def take_source(assignment: Assignment, job_id: str) -> Source:
    """Takes of a request that wants no cache are nobody else's; they stay for its own resumption."""
    if assignment.request.cache == "off":
        return msgspec.structs.replace(assignment.source, scope=f"job:{job_id}")
    return assignment.source


def takes_since_ms(job: JobRecord, request: SpeechRequest) -> int:
    """The wall time before which a take is not this job's: with `cache: refresh` only its own are."""
    return job.created_ms if request.cache == "refresh" else 0

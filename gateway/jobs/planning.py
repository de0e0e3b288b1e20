"""What a job's takes are, for whoever speaks them and whoever reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from gateway.cache.keys import Source
from gateway.jobs.intake import Assignment, Intake
from gateway.routing.endpoints import Endpoint
from gateway.routing.router import REFUSALS
from gateway.speech.plan import Plan, make_plan
from gateway.speech.request import SpeechRequest
from gateway.speech.written import as_written
from storage.records import JobRecord

PLAN_IN_THREAD_CHARS = 20_000
"""Longer texts are planned in a thread: at about 10 MB/s they would hold the event loop."""

SPELLING_COSTS = 20
"""So many times as long as planning alone takes a text that is spelled out."""


async def assignments_of(
    job: JobRecord,
    request: SpeechRequest,
    endpoint: Endpoint,
    intake: Intake,
    freshen: Callable[[], Awaitable[None]],
) -> list[Assignment]:
    """The request on every arm that may speak it, as the server that accepted it saw it: the one it planned first.

    That server may have known a voice a moment before this one: what does not fit the job is looked up again.

    Args:
        freshen: reads again what another server may have changed.

    Raises:
        InvalidInput, ModelNotInitialized: see `Intake.assignments`.
    """
    try:
        found = await _assigned(job, request, endpoint, intake)
    except REFUSALS:
        found = []
    if found and job.flight_key in (None, found[0].key):
        return found
    await freshen()
    return await _assigned(job, request, endpoint, intake)


async def _assigned(job: JobRecord, request: SpeechRequest, endpoint: Endpoint, intake: Intake) -> list[Assignment]:
    if len(request.text) > PLAN_IN_THREAD_CHARS:
        found = await asyncio.to_thread(intake.assignments, request, endpoint, job.tenant)
    else:
        found = intake.assignments(request, endpoint, job.tenant)
    planned = next((n for n, assignment in enumerate(found) if assignment.arm.backend == job.backend), 0)
    # A server without the endpoint's first backend planned a fallback: whoever follows or listens waits for that one.
    return found[planned:]


async def plan_of(assignment: Assignment) -> Plan:
    """The plan of a request on its arm."""
    text, language, rule = assignment.spoken, assignment.arm.language, assignment.rule
    plan = partial(make_plan, text, language, rule, spelled_out=assignment.spelled_out)
    if len(text) > (PLAN_IN_THREAD_CHARS // SPELLING_COSTS if assignment.spelled_out else PLAN_IN_THREAD_CHARS):
        made = await asyncio.to_thread(plan)
    else:
        made = plan()
    if assignment.respelled is None:
        return made
    return await asyncio.to_thread(as_written, made, assignment.respelled)


def take_source(assignment: Assignment, job_id: str) -> Source:
    """Takes of a request that wants no cache are nobody else's; they stay for its own resumption."""
    if assignment.request.cache == "off":
        return msgspec.structs.replace(assignment.source, scope=f"job:{job_id}")
    return assignment.source


def own_takes(request: SpeechRequest) -> bool:
    """Whether only what the job itself has spoken is its own, as with `cache: refresh`."""
    return request.cache == "refresh"

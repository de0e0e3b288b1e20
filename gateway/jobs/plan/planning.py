"""What a job's takes are, for whoever speaks them and whoever reads them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from gateway.cache.keys import Source
from gateway.jobs.plan.assign import Assigner, Assignment
from gateway.routing.endpoints import Endpoint
from gateway.routing.router import REFUSALS
from gateway.speech.planner import Planned
from gateway.speech.request import SpeechRequest
from storage.records import JobRecord


async def assignments_of(
    job: JobRecord,
    request: SpeechRequest,
    endpoint: Endpoint,
    intake: Assigner,
    freshen: Callable[[], Awaitable[None]],
) -> list[Assignment]:
    """The request on every arm that may speak it, as the server that accepted it saw it: the one it planned first.

    That server may have known a voice a moment before this one: what does not fit the job is looked up again.

    Args:
        freshen: reads again what another server may have changed.

    Raises:
        InvalidInput, ModelNotInitialized, ReadingFailed: see `Assigner.assignments`.
    """
    try:
        found = await _assigned(job, request, endpoint, intake)
    except REFUSALS:
        found = []
    if found and job.flight_key in (None, found[0].key):
        return found
    await freshen()
    return await _assigned(job, request, endpoint, intake)


async def _assigned(job: JobRecord, request: SpeechRequest, endpoint: Endpoint, intake: Assigner) -> list[Assignment]:
    found = await intake.assignments(request, endpoint, job.tenant)
    planned = next((n for n, assignment in enumerate(found) if assignment.arm.backend == job.backend), 0)
    # A server without the endpoint's first backend planned a fallback: whoever follows or listens waits for that one.
    return found[planned:]


async def plan_of(assignment: Assignment, job: JobRecord, intake: Assigner) -> Planned:
    """The plan and the script of a job on its arm.

    Raises:
        ReadingFailed: the process that planned it died.
    """
    return await intake.plan(assignment, take_source(assignment, job.id), job.tenant)


def take_source(assignment: Assignment, job_id: str) -> Source:
    """Takes of a request that wants no cache are nobody else's; they stay for its own resumption."""
    if assignment.request.cache == "off":
        return msgspec.structs.replace(assignment.source, scope=f"job:{job_id}")
    return assignment.source


def own_takes(request: SpeechRequest) -> bool:
    """Whether only what the job itself has spoken is its own, as with `cache: refresh`."""
    return request.cache == "refresh"

"""Plans a job's takes in the same way for the runner and for followers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.jobs.plan.assign import Assigner, Assignment
from gateway.routing.endpoints import Endpoint
from gateway.routing.router import REFUSALS
from gateway.speech.planner import Planned
from gateway.speech.request import SpeechRequest
from gateway.speech.text.script import PlanVoices
from storage.records import JobRecord


async def assignments_of(
    job: JobRecord,
    request: SpeechRequest,
    endpoint: Endpoint,
    assigner: Assigner,
    reload: Callable[[], Awaitable[None]],
) -> list[Assignment]:
    """Assign the request to every arm that may speak it, starting with the arm chosen at submit.

    The server that accepted the job may have seen a voice before this one: if the result does not fit the job,
    `reload` is called and the arms are computed again.

    Args:
        reload: reads again voices, dictionaries and endpoints that another server may have changed.

    Raises:
        InvalidInput, ModelNotInitialized, ReadingFailed: see `Assigner.assignments`.
    """
    try:
        found = await _assigned(job, request, endpoint, assigner)
    except REFUSALS:
        found = []
    if found and job.flight_key in (None, found[0].key):
        return found
    await reload()
    return await _assigned(job, request, endpoint, assigner)


async def _assigned(job: JobRecord, request: SpeechRequest, endpoint: Endpoint, assigner: Assigner) -> list[Assignment]:
    found = await assigner.assignments(request, endpoint, job.tenant)
    planned = next((n for n, assignment in enumerate(found) if assignment.arm.backend == job.backend), 0)
    # A server without the endpoint's first backend planned a fallback: followers and listeners wait for that arm.
    return found[planned:]


async def plan_of(assignment: Assignment, job: JobRecord, assigner: Assigner) -> Planned:
    """Return the plan and the script of a job on its arm.

    Raises:
        ReadingFailed: the process that planned it died.
    """
    return await assigner.plan(assignment, take_voices(assignment, job.id), job.tenant)


def take_voices(assignment: Assignment, job_id: str) -> PlanVoices:
    """Return the voices of a job's takes. With `cache: off` the scope is the job: only its attempts reuse them."""
    return assignment.voices.scoped(f"job:{job_id}") if assignment.request.cache == "off" else assignment.voices


def own_takes(request: SpeechRequest) -> bool:
    """Return whether the job may use only takes it has spoken itself, as with `cache: refresh`."""
    return request.cache == "refresh"

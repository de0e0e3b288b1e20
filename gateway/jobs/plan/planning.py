"""Plans a job's takes in the same way for the runner and for followers."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.jobs.model.tried import Tried
from gateway.jobs.plan.assign import Assigner, Assignment
from gateway.jobs.plan.routes import Routes
from gateway.routing.offers import Offers
from gateway.routing.router import REFUSALS
from gateway.speech.planner import Planned
from gateway.speech.request import SpeechRequest
from gateway.speech.text.script import PlanVoices
from storage.records import JobRecord


class Arms:
    """The arms of one job, in the order of its row. Each is assigned when it is tried.

    Args:
        backends: the backends, beginning with the job's; the request may not be possible on all of them.
    """

    def __init__(self, assigner: Assigner, offers: Offers, backends: Sequence[str]) -> None:
        self._assigner = assigner
        self._offers = offers
        self._left = list(backends)
        self._tried: list[str] = []

    def tried(self, job: JobRecord) -> Tried:
        """Return the notes of an attempt on these arms; they are comparable if every arm could speak the request."""
        policy = self._offers.endpoint.policy
        return Tried(job, policy, comparable=len(self._offers.able) == len(policy.arms) > 1)

    async def next(self) -> Assignment | None:
        """Assign the request to the next arm that can speak it; None after the last.

        Raises:
            InvalidInput, ModelNotInitialized: no arm can speak it.
            ReadingFailed: the process that keyed its text died.
        """
        while self._left:
            self._tried.append(self._left.pop(0))
            assignment = await self._assigner.assigned(self._offers, self._tried[-1])
            if assignment is not None:
                return assignment
        if all(self._offers.arm(name) is None for name in self._tried):
            raise self._offers.refused(self._tried)
        return None


async def arms_of(job: JobRecord, request: SpeechRequest, routes: Routes) -> tuple[Arms, Assignment]:
    """Return the arms of a job, and its assignment to the first that can speak it.

    The server that accepted the job may have seen a voice before this one: if the result does not fit the job, voices,
    dictionaries and endpoints are read again and the arms are computed again.

    Raises:
        InvalidInput, ModelNotInitialized, ReadingFailed: see `Arms.next`.
    """
    try:
        found = await _arms_of(job, request, routes)
    except REFUSALS:
        pass
    else:
        if job.flight_key in (None, found[1].key):
            return found
    await routes.reload()
    return await _arms_of(job, request, routes)


async def _arms_of(job: JobRecord, request: SpeechRequest, routes: Routes) -> tuple[Arms, Assignment]:
    offers = routes.assigner.offers(request, routes.endpoints.resolve(job.endpoint_id), job.tenant)
    names = job.arms or offers.choose(job.unit)
    # A server without the endpoint's first backend planned a fallback: followers and listeners wait for that arm.
    begin = names.index(job.backend) if job.backend in names and offers.arm(job.backend) is not None else 0
    arms = Arms(routes.assigner, offers, names[begin:])
    first = await arms.next()
    assert first is not None  # the first call raises instead
    return arms, first


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

"""Notes what became of the arms that an attempt tries, at endpoints whose policy has several."""

from __future__ import annotations

from gateway.routing.policy import RoutePolicy
from storage.outcomes import Outcome
from storage.records import JobRecord


class Tried:
    """The outcomes of the arms of one attempt; none unless the policy's arms share the job's request.

    Args:
        comparable: every arm of the policy could speak the request.
    """

    def __init__(self, job: JobRecord, policy: RoutePolicy, *, comparable: bool) -> None:
        self._job = job
        self._policy = policy
        self._comparable = comparable
        self._noted: list[Outcome] = []

    def fell_back(self, arm: str) -> None:
        """Note that an arm could not speak, and another one is tried."""
        self._note(arm, failed=True, fell_back=True)

    def ended(self, arm: str, *, failed: bool = False, bad_take: bool = False) -> tuple[Outcome, ...]:
        """Note the end of the attempt, and return all of its outcomes."""
        self._note(arm, failed=failed, bad_take=bad_take)
        return tuple(self._noted)

    def _note(self, arm: str, *, failed: bool, fell_back: bool = False, bad_take: bool = False) -> None:
        job = self._job
        if not job.unit or job.purpose != "caller":
            return
        self._noted.append(
            Outcome(
                endpoint_id=job.endpoint_id,
                policy=self._policy.version,
                arm=arm,
                unit=job.unit,
                failed=failed,
                fell_back=fell_back,
                bad_take=bad_take,
                comparable=self._comparable and arm == job.arms[0],
            )
        )

"""Makes jobs in every state over plain HTTP, for tests of clients."""

from __future__ import annotations

import time
from typing import Any

import httpx

TEXT = "Hello! This is what a client asked for."
SLOW = {"options": {"delay_s": 40}}
GUARD_S = 60.0


def until(http: httpx.Client, endpoint: str, job_id: str, *states: str) -> dict[str, Any]:
    """Wait until the job is in one of these states, and return it."""
    end = time.monotonic() + GUARD_S
    while (job := http.get(f"/{endpoint}/status/{job_id}").json())["status"] not in states:
        assert time.monotonic() < end, job
        time.sleep(0.02)
    return dict(job)


def submit(http: httpx.Client, endpoint: str, **envelope: Any) -> str:
    """Submit a job and return its id."""
    answer = http.post(f"/{endpoint}/run", json=envelope)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def brought_to(http: httpx.Client, endpoint: str, state: str) -> str:
    """Make a job that ends in this state; return its id."""
    wanted: dict[str, Any] = {"text": f"{TEXT} {state}"}
    if state == "FAILED":
        wanted["options"] = {"fail": "as it was asked to"}
    elif state in ("CANCELLED", "TIMED_OUT"):
        wanted |= SLOW
    policy = {"executionTimeout": 5000} if state == "TIMED_OUT" else None
    job_id = submit(http, endpoint, input=wanted, policy=policy)
    if state == "CANCELLED":
        until(http, endpoint, job_id, "IN_PROGRESS")
        assert http.post(f"/{endpoint}/cancel/{job_id}").status_code == 200
    until(http, endpoint, job_id, state)
    return job_id


def queued(http: httpx.Client, endpoint: str, waiting: int) -> tuple[list[str], list[str]]:
    """Submit two jobs that run and `waiting` jobs that wait; the server runs two at a time."""
    running = [submit(http, endpoint, input={"text": f"{endpoint} runs {n}", **SLOW}) for n in range(2)]
    for job_id in running:
        until(http, endpoint, job_id, "IN_PROGRESS")
    return running, [submit(http, endpoint, input={"text": f"{endpoint} waits {n}", **SLOW}) for n in range(waiting)]


def stop(http: httpx.Client, endpoint: str, job_ids: list[str]) -> None:
    """Cancel the jobs that still run or wait."""
    for job_id in job_ids:
        http.post(f"/{endpoint}/cancel/{job_id}")

"""`/requests` and `/webhooks`: lists of a tenant's jobs at an endpoint and of their webhooks."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.params import FromPath, QueryParameter

from gateway.api.http.answers import json_response
from gateway.api.http.mounts import Endpoint
from gateway.api.http.openapi import answers, operation_id
from gateway.api.http.security import Caller, Core, admit
from gateway.jobs.lists import Deliveries, DeliveriesOfJob, ListedJobs, State, WebhookState

LIMIT = (1, 1000)
NEWEST = 2**63 - 1
"""The highest number of a webhook that a database can hold."""
DEFAULT_LIMIT = 100

Limit = Annotated[int, QueryParameter(ge=LIMIT[0], le=LIMIT[1], description="The highest number of entries on a page.")]


@get("/requests", operation_id=operation_id("requests"), responses=answers(ListedJobs))
async def requests(
    request: Request[Any, Any, Any],
    gateway: Core,
    caller: Caller,
    endpoint: Endpoint,
    status: Annotated[State | None, QueryParameter(description="Only jobs in this state.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    before: Annotated[str | None, QueryParameter(max_length=100, description="`next` of the previous page.")] = None,
) -> Response[bytes]:
    """List the caller's jobs at the endpoint, newest first. Their results are at `/status/{id}`."""
    await admit(gateway, caller, endpoint, "requests", request)
    return json_response(await gateway.lists.jobs(caller, endpoint, status, limit, before))


@get("/webhooks", operation_id=operation_id("webhooks"), responses=answers(Deliveries))
async def webhooks(
    request: Request[Any, Any, Any],
    gateway: Core,
    caller: Caller,
    endpoint: Endpoint,
    status: Annotated[WebhookState | None, QueryParameter(description="Only webhooks in this state.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    before: Annotated[int | None, QueryParameter(ge=0, le=NEWEST, description="`next` of the previous page.")] = None,
) -> Response[bytes]:
    """List the webhooks of the caller's jobs at the endpoint, newest first."""
    await admit(gateway, caller, endpoint, "requests", request)
    return json_response(await gateway.lists.webhooks(caller, endpoint, status, limit, before))


@get(
    "/webhooks/{job_id:str}",
    operation_id=operation_id("webhooksOfJob"),
    responses=answers(DeliveriesOfJob, not_found=True),
)
async def webhooks_of_job(
    request: Request[Any, Any, Any], gateway: Core, caller: Caller, endpoint: Endpoint, job_id: FromPath[str]
) -> Response[bytes]:
    """List the webhooks of one job, with every attempt."""
    await admit(gateway, caller, endpoint, "requests", request)
    job = await gateway.jobs.find(caller, endpoint, job_id)
    return json_response(await gateway.lists.webhooks_of(job.id))


LISTS = (requests, webhooks, webhooks_of_job)

"""RunPod's job API: `/run`, `/runsync`, `/status` and the others, for one endpoint.

The same handlers are mounted under `/v2/{endpoint_id}` and, for the endpoint `default`, at the root. They only
translate; gateway.jobs holds the rules. Bodies of cancel, retry, purge and status are ignored: clients send none, `{}`,
or none with a JSON content type. Every success has status 200, because RunPod's JavaScript client drops the body of any
other 2xx.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

from litestar import Request, Response, get, post, route
from litestar.enums import HttpMethod
from litestar.params import FromPath, HeaderParameter, QueryParameter, RawBody

from gateway.api.http.answers import disconnected, json_response
from gateway.api.http.documents import Job, Purged
from gateway.api.http.envelope import DEFAULT_WAIT_MS, MAX_IDEMPOTENCY_KEY, WAIT_MS, read_envelope
from gateway.api.http.errors import CLIENT_GONE
from gateway.api.http.mounts import Endpoint
from gateway.api.http.openapi import answers, operation_id
from gateway.api.http.security import Caller, Core, admit, base_url
from gateway.api.http.surface import error_response
from gateway.jobs.model.views import TTL_MS, EndpointInfo, Health, JobView

Wait = Annotated[
    int | None,
    QueryParameter(ge=WAIT_MS[0], le=WAIT_MS[1], description="Milliseconds to wait for the job to become final."),
]
Ttl = Annotated[
    int | None,
    QueryParameter(ge=TTL_MS[0], le=TTL_MS[1], description="Milliseconds to keep the result from now on."),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        max_length=MAX_IDEMPOTENCY_KEY,
        description="The same key with the same body gives the same job in its present state; with another body 409. "
        "An empty key counts as none.",
    ),
]
_POLL = (HttpMethod.GET, HttpMethod.POST)


def _base_url(request: Request[Any, Any, Any]) -> str:
    return base_url(request.scope["scheme"], request.scope["headers"])


async def _held(request: Request[Any, Any, Any], waiting: Coroutine[Any, Any, JobView]) -> Response[bytes]:
    """Wait for a job as long as the caller is connected. The job itself goes on."""
    wait = asyncio.ensure_future(waiting)
    gone = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait({wait, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not wait.done():
            return error_response(CLIENT_GONE, "the client disconnected")
        return json_response(wait.result())
    finally:
        wait.cancel()
        gone.cancel()
        del wait, gone  # an exception holds this frame in its traceback: break that reference cycle


@post("/run", operation_id=operation_id("run"), status_code=200, responses=answers(Job, body=True))
async def run(
    request: Request[Any, Any, Any],
    gateway: Core,
    caller: Caller,
    endpoint: Endpoint,
    body: RawBody,
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """Queue an utterance; poll `/status/{id}` for the speech."""
    envelope = await read_envelope(body)
    await admit(gateway, caller, endpoint, "run", request, envelope)
    view = await gateway.jobs.submit(caller, endpoint, envelope, "run", idempotency_key, _base_url(request))
    return json_response(view)


@post("/runsync", operation_id=operation_id("runsync"), status_code=200, responses=answers(Job, body=True))
async def runsync(
    request: Request[Any, Any, Any],
    gateway: Core,
    caller: Caller,
    endpoint: Endpoint,
    body: RawBody,
    wait: Wait = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[bytes]:
    """Speak, and answer with the speech, or with the unfinished job after `wait`."""
    envelope = await read_envelope(body)
    await admit(gateway, caller, endpoint, "runsync", request, envelope)
    base = _base_url(request)
    view = await gateway.jobs.submit(caller, endpoint, envelope, "runsync", idempotency_key, base)
    if not view.final:
        seconds = (wait or DEFAULT_WAIT_MS) / 1000
        return await _held(request, gateway.jobs.wait(caller, endpoint, view.id, seconds, base))
    return json_response(view)


@route(
    "/status/{job_id:str}",
    http_method=_POLL,
    operation_id=operation_id("status"),
    status_code=200,
    responses=answers(Job, not_found=True),
)
async def status(
    request: Request[Any, Any, Any],
    gateway: Core,
    caller: Caller,
    endpoint: Endpoint,
    job_id: FromPath[str],
    ttl: Ttl = None,
) -> Response[bytes]:
    """Get the present state of a job."""
    await admit(gateway, caller, endpoint, "status", request)
    return json_response(await gateway.jobs.status(caller, endpoint, job_id, ttl, _base_url(request)))


@route(
    "/status-sync/{job_id:str}",
    http_method=_POLL,
    operation_id=operation_id("statusSync"),
    status_code=200,
    responses=answers(Job, not_found=True),
)
async def status_sync(
    request: Request[Any, Any, Any],
    gateway: Core,
    caller: Caller,
    endpoint: Endpoint,
    job_id: FromPath[str],
    wait: Wait = None,
) -> Response[bytes]:
    """Wait until a job is final, and get its state then or after `wait`."""
    await admit(gateway, caller, endpoint, "status-sync", request)
    seconds = (wait or DEFAULT_WAIT_MS) / 1000
    return await _held(request, gateway.jobs.wait(caller, endpoint, job_id, seconds, _base_url(request)))


@post(
    "/cancel/{job_id:str}",
    operation_id=operation_id("cancel"),
    status_code=200,
    responses=answers(Job, not_found=True),
)
async def cancel(
    request: Request[Any, Any, Any], gateway: Core, caller: Caller, endpoint: Endpoint, job_id: FromPath[str]
) -> Response[bytes]:
    """Cancel a job; a job that has ended does not change."""
    await admit(gateway, caller, endpoint, "cancel", request)
    return json_response(await gateway.jobs.cancel(caller, endpoint, job_id))


@post(
    "/retry/{job_id:str}",
    operation_id=operation_id("retry"),
    status_code=200,
    responses=answers(Job, not_found=True, conflict=True),
)
async def retry(
    request: Request[Any, Any, Any], gateway: Core, caller: Caller, endpoint: Endpoint, job_id: FromPath[str]
) -> Response[bytes]:
    """Queue a FAILED or TIMED_OUT job again; its finished chunks are not spoken again."""
    await admit(gateway, caller, endpoint, "retry", request)
    return json_response(await gateway.jobs.retry(caller, endpoint, job_id))


@post("/purge-queue", operation_id=operation_id("purgeQueue"), status_code=200, responses=answers(Purged))
async def purge_queue(
    request: Request[Any, Any, Any], gateway: Core, caller: Caller, endpoint: Endpoint
) -> Response[bytes]:
    """Remove the caller's jobs that are still queued."""
    await admit(gateway, caller, endpoint, "purge-queue", request)
    return json_response(Purged(await gateway.jobs.purge(caller, endpoint)))


@get("/health", operation_id=operation_id("health"), responses=answers(Health))
async def health(gateway: Core, caller: Caller, endpoint: Endpoint) -> Response[bytes]:
    """Get the jobs by state, the engine workers, and each backend's state and last error."""
    return json_response(await gateway.jobs.health(caller, endpoint))


@get("/", operation_id=operation_id("endpoint"), responses=answers(EndpointInfo))
async def endpoint_info(gateway: Core, caller: Caller, endpoint: Endpoint) -> Response[bytes]:
    """Get the load of the endpoint: `activeWorkers`, `jobsInQueue`."""
    return json_response(await gateway.jobs.endpoint_info(caller, endpoint))

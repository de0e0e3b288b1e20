"""`/stream`: pieces of a job's audio while it is being spoken.

A plain poll drains: what it was given is not given again. Items count as given once the answer has been sent; a
caller that went away before that loses none. `from` reads from an item on and drains nothing.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import MediaType, Request, Response, route
from litestar.background_tasks import BackgroundTask
from litestar.enums import HttpMethod
from litestar.params import FromPath, QueryParameter

from gateway.api.jobs import Endpoint, Wait, gone_away
from gateway.api.openapi import answers, operation_id
from gateway.api.security import Caller, Core, admit
from gateway.jobs.stream import StreamPage

DEFAULT_HOLD_S = 8.0
"""RunPod holds ten seconds; its Python client gives up after ten. Less than that loses nobody's answer."""

From = Annotated[
    int | None,
    QueryParameter(name="from", ge=0, description="Read from this item on, and give none out: it can be read again."),
]


@route(
    "/stream/{job_id:str}",
    http_method=(HttpMethod.GET, HttpMethod.POST),
    operation_id=operation_id("stream"),
    status_code=200,
    responses=answers(StreamPage, not_found=True),
)
async def stream(
    request: Request[Any, Any, Any],
    gateway: Core,
    caller: Caller,
    endpoint: Endpoint,
    job_id: FromPath[str],
    wait: Wait = None,
    start: From = None,
) -> Response[bytes]:
    """Pieces of a job's audio as they are finished, each a file; held until there is one, or the job has ended."""
    admit(gateway, caller, endpoint, "stream", request)
    job = await gateway.jobs.find(caller, endpoint, job_id)
    gone = asyncio.Event()
    watcher = asyncio.create_task(_watch(request, gone), name="stream caller")
    try:
        hold_s = wait / 1000 if wait is not None else DEFAULT_HOLD_S
        page, first, after = await gateway.streams.read(job, start, hold_s, gone)
    finally:
        left = gone.is_set()
        watcher.cancel()
    sent = None if start is not None or left else BackgroundTask(gateway.streams.given, job.id, first, after)
    return Response(msgspec.json.encode(page), status_code=200, media_type=MediaType.JSON, background=sent)


async def _watch(request: Request[Any, Any, Any], gone: asyncio.Event) -> None:
    """Set `gone` when the caller has left."""
    await gone_away(request)
    gone.set()

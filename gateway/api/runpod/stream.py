"""`/stream`: pieces of a job's audio while it is being spoken.

A plain poll drains the stream: no server gives the same items again. Items count as given when all but the last byte of
the answer has been sent and the caller is still connected; a caller that disconnects before that loses none. The server
cannot see whether a program reads the bytes that are in buffers on the way. A poll with `from` starts at that item and
drains nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, route
from litestar.enums import HttpMethod
from litestar.params import FromPath, QueryParameter

from gateway.api.http.answers import disconnected, json_response
from gateway.api.http.asgi import PIECE_BYTES
from gateway.api.http.mounts import Endpoint
from gateway.api.http.openapi import answers, operation_id
from gateway.api.http.security import Caller, Core, admit
from gateway.api.http.sending import MadeBody, PiecewiseResponse
from gateway.api.runpod.jobs import Wait
from gateway.jobs.listen.stream import StreamPage
from gateway.jobs.listen.stream_handouts import Sending, Sendings

MAX_HOLD_S = 8.0
"""RunPod holds a poll for ten seconds, and its Python client gives up after ten. A shorter time loses no answer."""

From = Annotated[
    int | None,
    QueryParameter(
        name="from", ge=0, description="Read from this item on; the items are not drained and can be read again."
    ),
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
) -> Response[Any]:
    """Get the finished pieces of a job's audio, each a file; the answer is held until there is one or the job has
    ended, for 8 seconds at most, even if `wait` is longer."""
    await admit(gateway, caller, endpoint, "stream", request)
    job = await gateway.jobs.find(caller, endpoint, job_id)
    hold_s = MAX_HOLD_S if wait is None else min(wait / 1000, MAX_HOLD_S)
    gone = asyncio.ensure_future(disconnected(request))
    answer: Response[Any] | None = None
    try:
        reading = await gateway.streams.read(job, start, hold_s, gone)
        if reading.sending is not None:
            answer = _drained(reading.page, gone, gateway.streams.sendings, reading.sending)
            return answer
        return json_response(reading.page)
    finally:
        if answer is None:
            gone.cancel()


def _drained(page: StreamPage, gone: asyncio.Future[None], sendings: Sendings, sending: Sending) -> PiecewiseResponse:
    body = msgspec.json.encode(page)
    made = MadeBody(
        _pieces(body[:-1]),
        gone,
        leave=partial(sendings.dropped, sending),
        end=body[-1:],
        may_end=partial(sendings.holds, sending),
        arrived=partial(sendings.arrived, sending),
    )
    return PiecewiseResponse(made, {"content-type": "application/json", "content-length": str(len(body))})


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    for offset in range(0, len(body), PIECE_BYTES):
        yield body[offset : offset + PIECE_BYTES]

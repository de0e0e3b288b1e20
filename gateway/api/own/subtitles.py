"""`/subtitles/{id}.srt`, `.vtt`, `.json`: the spoken text with its times."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from gateway.api.http.mounts import Endpoint
from gateway.api.http.openapi import answers, operation_id
from gateway.api.http.security import Caller, Core, admit
from gateway.errors import NotFound
from gateway.jobs.listen.captions import CAPTION_FORMATS, Captions, captions

_TYPES = {
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "json": "application/json",
}


@get(
    "/subtitles/{file:str}",
    operation_id=operation_id("subtitles"),
    responses={
        **answers(Captions, not_found=True, conflict=True),
        200: ResponseSpec(Captions, generate_examples=False, description="The subtitles in the requested format."),
    },
)
async def subtitles(
    request: Request[Any, Any, Any], gateway: Core, caller: Caller, endpoint: Endpoint, file: FromPath[str]
) -> Response[bytes]:
    """Get the subtitles of a finished job: `{id}.srt`, `{id}.vtt`, or `{id}.json` for the cues as data."""
    await admit(gateway, caller, endpoint, "status", request)
    job_id, _, form = file.rpartition(".")
    for known in CAPTION_FORMATS:
        if form == known and job_id:
            job = await gateway.jobs.find(caller, endpoint, job_id)
            return Response(
                captions(job, known, await gateway.jobs.words(job)),
                status_code=200,
                headers={"content-type": _TYPES[known]},
            )
    raise NotFound(f"subtitles are {{id}}.{', {id}.'.join(CAPTION_FORMATS)}, not {file[:80]!r}")

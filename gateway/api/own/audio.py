"""`/audio`: finished audio at signed, expiring URLs."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, route
from litestar.enums import HttpMethod
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter

from gateway.api.http.files import file_response
from gateway.api.http.openapi import OPEN, fails, succeeds
from gateway.api.http.security import Core
from gateway.jobs.model.output import MIMETYPES

FILE_ANSWERS = {
    206: ResponseSpec(bytes, generate_examples=False, description="The requested Range.", media_type="audio/*"),
    304: ResponseSpec(None, generate_examples=False, description="The ETag has not changed."),
}
"""The answers to a request for a file, except 200."""


@route(
    "/audio/{blob:str}",
    http_method=(HttpMethod.GET, HttpMethod.HEAD),
    operation_id=lambda handler, method, path: "audio" if method is HttpMethod.GET else "audioHead",
    security=OPEN,
    tags=["audio"],
    status_code=200,
    responses={
        **succeeds(bytes, words="The audio.", media_type="audio/*"),
        **FILE_ANSWERS,
        **fails(
            {
                400: "The request is invalid.",
                403: "The signature is wrong or has expired.",
                404: "No such audio.",
                416: "The Range is outside of the file.",
            }
        ),
    },
)
async def audio(
    request: Request[Any, Any, Any],
    gateway: Core,
    blob: FromPath[str],
    expires: Annotated[str, QueryParameter(description="The time at which the URL expires.")] = "",
    signature: Annotated[str, QueryParameter(description="The server's signature of the URL.")] = "",
) -> Response[Any]:
    """Get finished audio. The URL comes from `output.audio_url`: it is signed, expires, and needs no key."""
    gateway.signer.verify(f"/audio/{blob}", expires, signature)
    blob_hash, _, suffix = blob.partition(".")
    file = await gateway.jobs.audio(blob_hash)
    mimetype = MIMETYPES.get(suffix, "application/json" if suffix == "json" else "application/octet-stream")
    return file_response(request, file, mimetype, "private, max-age=86400, immutable")

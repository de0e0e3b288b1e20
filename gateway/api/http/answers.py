"""JSON answers, and a check for callers that disconnect before they have one."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import MediaType, Request, Response


def json_response(value: object) -> Response[bytes]:
    """Answer with a Struct as JSON, made by the same encoder as the fast lane's answers."""
    return Response(msgspec.json.encode(value), status_code=200, media_type=MediaType.JSON)


async def disconnected(request: Request[Any, Any, Any]) -> None:
    """Wait until the caller has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        continue  # skip the rest of a body that is not needed

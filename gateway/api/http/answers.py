"""Answers as JSON, and callers that leave before theirs."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import MediaType, Request, Response


def json_response(value: object) -> Response[bytes]:
    """A Struct as its JSON; the same encoder the fast lane's answers were made with."""
    return Response(msgspec.json.encode(value), status_code=200, media_type=MediaType.JSON)


async def gone_away(request: Request[Any, Any, Any]) -> None:
    """Returns once the caller has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        continue  # what is left of a body nobody reads

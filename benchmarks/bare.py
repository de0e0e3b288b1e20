"""The peer of a cached answer: a bare Litestar server that returns the bytes of a file. `bare.py PORT FILE`"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvicorn
from litestar import Litestar, MediaType, Response, get, post

_ANSWER = Path(sys.argv[2]).read_bytes()


@post("/runsync", status_code=200)
async def runsync() -> Response[bytes]:
    """Return the bytes for any request; no key, limits or metrics, and the body is not read."""
    return Response(_ANSWER, media_type=MediaType.JSON)


@post("/v2/{endpoint_id:str}/runsync", status_code=200)
async def ordinary(endpoint_id: str, data: dict[str, Any]) -> Response[bytes]:
    """Return the bytes from an ordinary handler with a path parameter and a decoded body."""
    return Response(_ANSWER, media_type=MediaType.JSON)


@post("/run", status_code=200)
async def run() -> Response[bytes]:
    """Return a short answer with an id."""
    return Response(b'{"id":"1","status":"IN_QUEUE"}', media_type=MediaType.JSON)


@get("/status/{job_id:str}")
async def status(job_id: str) -> Response[bytes]:
    """Return the bytes for any id."""
    return Response(_ANSWER, media_type=MediaType.JSON)


@get("/held/{job_id:str}")
async def held(job_id: str, wait: int) -> Response[bytes]:
    """Return the bytes after `wait` milliseconds."""
    await asyncio.sleep(wait / 1000)
    return Response(_ANSWER, media_type=MediaType.JSON)


if __name__ == "__main__":
    app = Litestar([runsync, ordinary, run, status, held], openapi_config=None, logging_config=None)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False, http="httptools")

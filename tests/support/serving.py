"""Runs a real uvicorn on a free loopback port, in the test's event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import uvicorn

from gateway.api.http.connection import Connection
from gateway.api.http.observe import Observed
from gateway.cli.commands.serve import UNSENT_BYTES


@asynccontextmanager
async def serving(app: Observed, connection: type[Connection] = Connection) -> AsyncIterator[str]:
    """Run a server until the end of the block, with the connections of `voxgate serve`; yield its base URL."""
    # The protocol is given, since asyncio disables Nagle's algorithm only then, and with it an answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)  # as `voxgate serve`
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=cast(Any, partial(connection, lane=app.lane, early_error=app.early_error)),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,  # as `voxgate serve`: clients must not use a connection while it is closed
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("the server did not start")
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import httpx
import pytest
import pytest_asyncio
import uvloop
from support.running import KEY, Caller, settings_of
from support.serving import serving

from gateway.api import build_app
from gateway.api.http.connection import Connection
from gateway.app import SURFACES, Gateway


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of `voxgate serve`: its transports differ from asyncio's own once they are closed."""
    return {"uvloop": uvloop.new_event_loop}


class Watchful(Connection):
    """The same rules in less time."""

    LOOK_S = 0.05
    STALL_S = 0.5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    """A gateway with "Known." in memory."""
    gateway = Gateway(settings_of(tmp_path_factory.mktemp("edge")))
    async with (
        serving(build_app(gateway.port, SURFACES), Watchful) as url,
        httpx.AsyncClient(base_url=url, timeout=60) as http,
    ):
        http.headers["Authorization"] = f"Bearer {KEY}"
        caller = Caller(gateway, http, "default")
        for _ in range(2):
            assert (await caller.say("Known."))["status"] == "COMPLETED"
        yield caller

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from support.memory import KEY, MemoryGateway
from support.running import Caller, running
from support.serving import serving

from gateway.api import build_app
from gateway.app import SURFACES
from gateway.settings import Settings


@pytest.fixture
def gateway(tmp_path: Path) -> MemoryGateway:
    """For faults a real gateway cannot be brought to on request."""
    return MemoryGateway(
        Settings(data_dir=tmp_path, max_body_run_bytes=50_000, max_body_runsync_bytes=100_000), tmp_path
    )


@pytest.fixture
async def client(gateway: MemoryGateway) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(build_app(gateway, SURFACES)) as url,
        httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {KEY}"}) as client,
    ):
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    """A whole gateway behind a real server, one for a module's tests."""
    folder = tmp_path_factory.mktemp("gateway")
    async with running(folder, max_body_run_bytes=50_000, max_body_runsync_bytes=100_000) as caller:
        yield caller

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from support.memory import KEY, MemoryGateway
from support.serving import serving

from gateway.api import build_app
from gateway.settings.model import Settings


@pytest.fixture
def gateway(tmp_path: Path) -> MemoryGateway:
    return MemoryGateway(
        Settings(data_dir=tmp_path, max_body_run_bytes=50_000, max_body_runsync_bytes=100_000), tmp_path
    )


@pytest.fixture
async def client(gateway: MemoryGateway) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(build_app(gateway)) as url,
        httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {KEY}"}) as client,
    ):
        yield client

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from support.running import Caller, running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    """A whole gateway behind a real server, one for a module's tests."""
    folder = tmp_path_factory.mktemp("gateway")
    async with running(folder, max_body_run_bytes=50_000, max_body_runsync_bytes=100_000) as caller:
        yield caller


@pytest_asyncio.fixture(loop_scope="module")
async def client(real: Caller) -> AsyncIterator[httpx.AsyncClient]:
    """A client of its own for each test, since tests change its headers."""
    async with httpx.AsyncClient(base_url=real.http.base_url, headers=real.http.headers) as client:
        yield client

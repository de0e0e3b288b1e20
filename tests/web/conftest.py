from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from support.running import settings_of
from support.serving import serving

from gateway.app import Gateway, application


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a whole server, pages included."""
    settings = settings_of(tmp_path_factory.mktemp("gateway"), backends={"scripted": {"cloning": True}})
    async with serving(application(Gateway(settings))) as url:
        yield url

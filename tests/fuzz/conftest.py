from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import structlog
from support.running import Caller, running

from gateway.settings.logs import setup_logs

LIMITS = {"max_body_run_bytes": 50_000, "max_body_runsync_bytes": 100_000}


@pytest.fixture(scope="module")
def log() -> io.StringIO:
    """Capture the log of a module's gateway as JSON, the form used in production."""
    before, level = logging.getLogger().handlers, logging.getLogger().level
    stream = io.StringIO()
    setup_logs("debug", "json", stream)
    yield stream
    structlog.reset_defaults()
    logging.getLogger().handlers = before
    logging.getLogger().setLevel(level)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def attacked(tmp_path_factory: pytest.TempPathFactory, log: io.StringIO) -> AsyncIterator[Caller]:
    """A whole gateway behind a real server, one for a module's tests; it is well before and after each module."""
    async with running(tmp_path_factory.mktemp("gateway"), **LIMITS) as caller:
        yield caller
        async with asyncio.timeout(60):
            assert (await caller.say("It still speaks."))["status"] == "COMPLETED"
